//! Whole-system proofs over real server processes.
//!
//! [`durability`] kills them, [`wire`] sends them what clients and enemies send, [`clients`] runs real drivers,
//! [`postgres`] compares with PostgreSQL 15, [`process`] starts and stops them, [`pushdown`] asks in three ways.

mod clients;
mod durability;
mod postgres;
mod process;
mod pushdown;
mod wire;
