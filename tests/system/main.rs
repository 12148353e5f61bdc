//! Whole-system proofs over real server processes.
//!
//! [`durability`] kills them, [`wire`] sends them what clients and enemies send, [`clients`] runs real drivers,
//! [`postgres`] and [`session`] compare with PostgreSQL 15, [`process`] starts and stops them, [`pushdown`] asks in
//! three ways, [`plans`] again and again, [`stopping`] ends what runs, [`bad_days`] takes the disk away, [`space`] asks for
//! it back, [`prepared`] executes INSERTs many times, [`memory`] asks for more than there is, [`cluster`] runs three processes
//! as one.

mod bad_days;
mod clients;
mod cluster;
mod durability;
mod memory;
mod plans;
mod postgres;
mod prepared;
mod process;
mod pushdown;
mod session;
mod space;
mod stopping;
mod wire;
