//! Tests of the log: scripts under `testscripts/wal/` (`script`), random histories against a model (`property`), and the
//! log with its thread on real files (`threaded`).

mod property;
mod script;
mod threaded;
