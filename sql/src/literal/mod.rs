//! Text and binary values into typed columns.

use chrono_tz::Tz;

/// What reading a value depends on besides its type.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// The session's TimeZone: for times without a zone.
    pub timezone: Tz,
    /// The statement's time: nanoseconds since the epoch.
    pub now_nanos: i64,
}
