//! Whole-system proofs over a real server process.

