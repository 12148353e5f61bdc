//! INTERVAL's arithmetic: where windows start and end.
//!
//! Windows stand on a grid of numbered points, one SLIDING apart. Up to the hour, points are ticks counted from the epoch
//! in UTC. Days and weeks, and months and years, are counted on the wall clock of the session's zone: a point is then the
//! first instant at which the clock shows that time or a later one. So points ascend whatever the clock does, and windows
//! leave no gap: a wall time that is left out when the clocks change becomes the end of the gap, one that comes twice is its
//! first coming. Days that a zone left out as a whole (Samoa, 2011-12-30) have no window.
//!
//! The unit of the width decides: `INTERVAL(1d) SLIDING(6h)` counts its hours on the wall clock, `INTERVAL(48h) SLIDING(1d)`
//! takes days of 24 hours. Start reading at [`Windows::parse`].

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, TimeDelta, TimeZone as _};
use datafusion::arrow::datatypes::TimeUnit;
use model::{Result, TimeRange, aggregate, error, fail};

use crate::parser::markers::{Duration, Unit};
use crate::pgvalue::TimeZone;
use crate::plan::filter::unit_nanos;

/// Windows that one row may be in, at most.
pub const WINDOWS_PER_ROW_MAX: usize = 10_000;

/// Windows of the calendar that storage is told of, at most.
const GRID_MAX: usize = 10_000;

const SECOND: i128 = 1_000_000_000;
const DAY: i128 = 86_400 * SECOND;

/// How points are counted.
#[derive(Clone, Debug)]
enum Grid {
    /// In ticks from the epoch.
    Ticks { width: i64, sliding: i64, offset: i64 },
    /// In nanoseconds of the wall clock from its 1970-01-01.
    Wall { width: i128, sliding: i128, offset: i128 },
    /// In months from 1900-01, and nanoseconds of the wall clock after the first of the month.
    Months { width: i64, sliding: i64, offset: i64, after: i128 },
}

/// INTERVAL(width, offset) SLIDING(sliding) in one zone and precision.
#[derive(Clone, Debug)]
pub struct Windows {
    grid: Grid,
    zone: TimeZone,
    /// Nanoseconds in one tick.
    tick: i64,
}

impl Windows {
    /// Reads the lengths as [`Duration`] prints them; empty for none.
    ///
    /// # Errors
    ///
    /// 22023 for lengths that do not go together, are no whole number of ticks, or too long.
    pub fn parse(width: &str, offset: &str, sliding: &str, zone: &str, unit: TimeUnit) -> Result<Self> {
        let tick = unit_nanos(unit);
        let zone = zone.parse().map_err(|_| error!(InvalidParameterValue, "time zone {zone:?} is not recognized"))?;
        let width = read(width)?;
        let sliding = if sliding.is_empty() { width } else { read(sliding)? };
        let offset = if offset.is_empty() { Duration { count: 0, unit: width.unit } } else { read(offset)? };
        let grid = match width.unit {
            Unit::Month | Unit::Year => months(width, offset, sliding, tick)?,
            Unit::Day | Unit::Week => {
                let [width, offset, sliding] = [nanos(width, tick)?, nanos(offset, tick)?, nanos(sliding, tick)?];
                check(width, offset, sliding)?;
                Grid::Wall { width, sliding, offset }
            }
            _ => {
                let [width, offset, sliding] = [ticks(width, tick)?, ticks(offset, tick)?, ticks(sliding, tick)?];
                check(width.into(), offset.into(), sliding.into())?;
                Grid::Ticks { width, sliding, offset }
            }
        };
        Ok(Self { grid, zone, tick })
    }

    /// The wall clock at `tick`, in nanoseconds from its 1970-01-01.
    fn wall(&self, tick: i64) -> Option<i128> {
        let per_second = 1_000_000_000 / self.tick;
        let below = u32::try_from(tick.rem_euclid(per_second) * self.tick).ok()?;
        let instant = DateTime::from_timestamp(tick.div_euclid(per_second), below)?;
        Some(nanos_of(instant.with_timezone(&self.zone).naive_local()))
    }

    /// The first tick at which the wall clock shows `wall` or a later time.
    fn tick_of(&self, wall: i128) -> Option<i64> {
        let instant = first_instant(self.zone, naive(wall)?)?;
        let nanos = i128::from(instant.timestamp()) * SECOND + i128::from(instant.timestamp_subsec_nanos());
        i64::try_from(nanos.div_euclid(self.tick.into())).ok()
    }

    /// Where the grid's point `at` is; with `end` the end of the window that starts there.
    fn point(&self, at: i64, end: bool) -> Option<i64> {
        match self.grid {
            Grid::Ticks { width, sliding, offset } => {
                let start = sliding.checked_mul(at)?.checked_add(offset)?;
                if end { start.checked_add(width) } else { Some(start) }
            }
            Grid::Wall { width, sliding, offset } => {
                let start = sliding.checked_mul(at.into())?.checked_add(offset)?;
                self.tick_of(if end { start.checked_add(width)? } else { start })
            }
            Grid::Months { width, sliding, offset, after } => {
                let month = sliding.checked_mul(at)?.checked_add(offset)?;
                let month = if end { month.checked_add(width)? } else { month };
                let year = i32::try_from(1900 + month.div_euclid(12)).ok()?;
                let first = NaiveDate::from_ymd_opt(year, u32::try_from(month.rem_euclid(12)).ok()? + 1, 1)?;
                self.tick_of(nanos_of(first.and_hms_opt(0, 0, 0)?).checked_add(after)?)
            }
        }
    }

    /// The number of the last point that is not after `tick`.
    fn index(&self, tick: i64) -> Option<i64> {
        let near = match self.grid {
            Grid::Ticks { sliding, offset, .. } => return Some(tick.checked_sub(offset)?.div_euclid(sliding)),
            Grid::Wall { sliding, offset, .. } => {
                i64::try_from((self.wall(tick)? - offset).div_euclid(sliding)).ok()?
            }
            Grid::Months { sliding, offset, after, .. } => {
                let wall = naive(self.wall(tick)? - after)?;
                let month = i64::from(wall.year() - 1900) * 12 + i64::from(wall.month0());
                (month - offset).div_euclid(sliding)
            }
        };
        // The clock may have been set back or forward between the point and here.
        let mut at = near;
        while self.point(at, false)? > tick {
            at = at.checked_sub(1)?;
        }
        while self.point(at.checked_add(1)?, false)? <= tick {
            at += 1;
        }
        Some(at)
    }

    /// The latest start that is not after `tick`; None outside what a calendar can say.
    #[must_use]
    pub fn floor(&self, tick: i64) -> Option<i64> {
        self.point(self.index(tick)?, false)
    }

    /// The first tick after the window that starts at `start`.
    #[must_use]
    pub fn end(&self, start: i64) -> Option<i64> {
        self.point(self.index(start)?, true)
    }

    /// The start of the window after the one that starts at `start`.
    #[must_use]
    pub fn next(&self, start: i64) -> Option<i64> {
        let mut at = self.index(start)?;
        loop {
            // Points that a change of the clock has thrown together are one.
            at = at.checked_add(1)?;
            let next = self.point(at, false)?;
            if next > start {
                return Some(next);
            }
        }
    }

    /// Ticks between two starts, where that is always the same.
    #[must_use]
    pub fn fixed_step(&self) -> Option<i64> {
        match self.grid {
            Grid::Ticks { sliding, .. } => Some(sliding),
            _ => None,
        }
    }

    /// The windows that times in `range` are in, as storage counts them. None if a row may be in several, or if it would
    /// take more than [`GRID_MAX`] windows of the calendar.
    #[must_use]
    pub fn grid(&self, range: TimeRange) -> Option<aggregate::Windows> {
        let fixed = |step: i64, offset: i64| aggregate::Windows::Fixed { step, offset: offset.rem_euclid(step) };
        match self.grid {
            Grid::Ticks { width, sliding, offset } => return (width == sliding).then(|| fixed(sliding, offset)),
            // A day of UTC is always as long.
            Grid::Wall { width, sliding, offset } if width == sliding && self.zone == TimeZone::UTC => {
                let ticks = |nanos: i128| i64::try_from(nanos / i128::from(self.tick)).ok();
                return Some(fixed(ticks(sliding)?, ticks(offset)?));
            }
            Grid::Wall { width, sliding, .. } if width != sliding => return None,
            Grid::Months { width, sliding, .. } if width != sliding => return None,
            _ => {}
        }
        let mut start = self.floor(range.min)?;
        let mut starts = Vec::new();
        while start <= range.max {
            if starts.len() == GRID_MAX {
                return None;
            }
            starts.push(start);
            start = self.next(start)?;
        }
        Some(aggregate::Windows::Starts(starts.into()))
    }

    /// The number of the earliest window that has `tick` in it, whose own number is `own`.
    fn earliest(&self, tick: i64, own: i64) -> Option<i64> {
        match self.grid {
            Grid::Ticks { width, sliding, .. } => {
                let back = (width - (tick.checked_sub(self.point(own, false)?)?) - 1).div_euclid(sliding);
                own.checked_sub(back)
            }
            Grid::Wall { width, sliding, .. } if width == sliding => Some(own),
            Grid::Months { width, sliding, .. } if width == sliding => Some(own),
            _ => {
                let mut at = own;
                for _ in 0..WINDOWS_PER_ROW_MAX {
                    let before = at.checked_sub(1)?;
                    if self.point(before, true)? <= tick {
                        break;
                    }
                    at = before;
                }
                Some(at)
            }
        }
    }

    /// The start of the earliest window that has `tick` in it.
    #[must_use]
    pub fn first(&self, tick: i64) -> Option<i64> {
        let own = self.index(tick)?;
        self.point(self.earliest(tick, own)?, false)
    }

    /// The starts of all windows that `tick` is in, ascending.
    ///
    /// # Errors
    ///
    /// 53400 for more than [`WINDOWS_PER_ROW_MAX`] of them, 22008 outside the calendar.
    pub fn all(&self, tick: i64, starts: &mut Vec<i64>) -> Result<()> {
        let outside = || error!(DatetimeFieldOverflow, "a timestamp is outside the calendar");
        let own = self.index(tick).ok_or_else(outside)?;
        let earliest = self.earliest(tick, own).ok_or_else(outside)?;
        if own - earliest >= WINDOWS_PER_ROW_MAX as i64 {
            fail!(
                ConfigurationLimitExceeded,
                "SLIDING is so short that a row is in more than {WINDOWS_PER_ROW_MAX} windows"
            );
        }
        let before = starts.len();
        for at in earliest..=own {
            let start = self.point(at, false).ok_or_else(outside)?;
            if starts.len() == before || starts.last() != Some(&start) {
                starts.push(start);
            }
        }
        Ok(())
    }
}

/// The first instant at which the clock of `zone` shows `wall` or a later time.
fn first_instant(zone: TimeZone, wall: NaiveDateTime) -> Option<DateTime<TimeZone>> {
    if let Some(instant) = zone.from_local_datetime(&wall).earliest() {
        return Some(instant);
    }
    // A gap: the clock went from before `wall` to after it in one step, less than two days ago.
    let mut back = TimeDelta::minutes(15);
    let before = loop {
        if let Some(before) = zone.from_local_datetime(&wall.checked_sub_signed(back)?).latest() {
            break before;
        }
        back = back.checked_mul(2).filter(|back| *back < TimeDelta::days(4))?;
    };
    let (mut early, mut late) = (before.timestamp(), before.timestamp() + back.num_seconds());
    while late - early > 1 {
        let middle = early.midpoint(late);
        if zone.timestamp_opt(middle, 0).single()?.naive_local() < wall {
            early = middle;
        } else {
            late = middle;
        }
    }
    zone.timestamp_opt(late, 0).single()
}

fn nanos_of(wall: NaiveDateTime) -> i128 {
    let wall = wall.and_utc();
    i128::from(wall.timestamp()) * SECOND + i128::from(wall.timestamp_subsec_nanos())
}

fn naive(nanos: i128) -> Option<NaiveDateTime> {
    let below = u32::try_from(nanos.rem_euclid(SECOND)).ok()?;
    Some(DateTime::from_timestamp(i64::try_from(nanos.div_euclid(SECOND)).ok()?, below)?.naive_utc())
}

fn read(text: &str) -> Result<Duration> {
    Duration::parse(text).ok_or_else(|| error!(InvalidParameterValue, "{text} is not a length of time"))
}

/// A length in nanoseconds: a whole number of ticks.
fn nanos(length: Duration, tick: i64) -> Result<i128> {
    let wrong = || error!(InvalidParameterValue, "the length {length} is no whole number of ticks of this precision");
    let unit = if length.unit == Unit::Tick { tick } else { length.unit.nanos().ok_or_else(wrong)? };
    let nanos = i128::from(length.count) * i128::from(unit);
    if nanos % i128::from(tick) == 0 { Ok(nanos) } else { Err(wrong()) }
}

fn ticks(length: Duration, tick: i64) -> Result<i64> {
    i64::try_from(nanos(length, tick)? / i128::from(tick))
        .map_err(|_| error!(InvalidParameterValue, "the length {length} is too long"))
}

fn months(width: Duration, offset: Duration, sliding: Duration, tick: i64) -> Result<Grid> {
    let count = |length: Duration| {
        let months = length.months().filter(|months| months.abs() <= 12 * 10_000);
        months.ok_or_else(|| error!(InvalidParameterValue, "the length {length} does not go with months or years"))
    };
    let (width, sliding) = (count(width)?, count(sliding)?);
    let (offset, after) = match offset.months() {
        Some(_) => (count(offset)?, 0),
        None => (0, nanos(offset, tick)?),
    };
    check(width.into(), offset.into(), sliding.into())?;
    // A month has 28 days at least: an offset longer than that could lie in the window before.
    check(i128::from(width) * 28 * DAY, after, 1)?;
    Ok(Grid::Months { width, sliding, offset, after })
}

fn check(width: i128, offset: i128, sliding: i128) -> Result<()> {
    if width <= 0 {
        fail!(InvalidParameterValue, "INTERVAL must be longer than nothing");
    }
    if sliding <= 0 || sliding > width {
        fail!(InvalidParameterValue, "SLIDING must be longer than nothing and no longer than INTERVAL");
    }
    if offset < 0 || offset >= width {
        fail!(InvalidParameterValue, "the offset must be shorter than INTERVAL");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use chrono_tz::Tz;
    use proptest::prelude::*;

    use super::*;

    fn windows(width: &str, offset: &str, sliding: &str, zone: Tz) -> Windows {
        Windows::parse(width, offset, sliding, zone.name(), TimeUnit::Millisecond).expect("the lengths go together")
    }

    fn utc(text: &str) -> i64 {
        DateTime::parse_from_rfc3339(text).expect("a time").timestamp_millis()
    }

    /// Where midnight does not exist, comes twice, or a whole day is left out.
    #[test]
    fn days_start_at_their_first_instant() {
        let day = |zone: Tz, at: &str| {
            let windows = windows("1d", "", "", zone);
            let start = windows.floor(utc(at)).expect("inside the calendar");
            let shown = |tick| DateTime::from_timestamp_millis(tick).expect("inside the calendar").to_rfc3339();
            format!("{} {}", shown(start), shown(windows.end(start).expect("inside the calendar")))
        };
        // 00:00 to 01:00 is left out on 2024-03-10; it comes twice on 2024-11-03.
        let havana = chrono_tz::America::Havana;
        assert_eq!(day(havana, "2024-03-10T12:00:00Z"), "2024-03-10T05:00:00+00:00 2024-03-11T04:00:00+00:00");
        assert_eq!(day(havana, "2024-03-10T04:59:59Z"), "2024-03-09T05:00:00+00:00 2024-03-10T05:00:00+00:00");
        assert_eq!(day(havana, "2024-11-03T05:30:00Z"), "2024-11-03T04:00:00+00:00 2024-11-04T05:00:00+00:00");
        assert_eq!(day(havana, "2024-11-03T04:30:00Z"), "2024-11-03T04:00:00+00:00 2024-11-04T05:00:00+00:00");
        // 23:00 to 24:00 came twice on 2018-02-17, 00:00 to 01:00 was left out on 2018-11-04.
        let paulo = chrono_tz::America::Sao_Paulo;
        assert_eq!(day(paulo, "2018-02-18T02:30:00Z"), "2018-02-17T02:00:00+00:00 2018-02-18T03:00:00+00:00");
        assert_eq!(day(paulo, "2018-11-04T03:00:00Z"), "2018-11-04T03:00:00+00:00 2018-11-05T02:00:00+00:00");
        // 2011-12-30 did not take place.
        let apia = chrono_tz::Pacific::Apia;
        assert_eq!(day(apia, "2011-12-30T09:59:59Z"), "2011-12-29T10:00:00+00:00 2011-12-30T10:00:00+00:00");
        assert_eq!(day(apia, "2011-12-30T10:00:00Z"), "2011-12-30T10:00:00+00:00 2011-12-31T10:00:00+00:00");
    }

    /// Lengths that go together.
    fn lengths() -> impl Strategy<Value = (String, String, String)> {
        let hours = |days: i64| (0..days * 24, 1..=days * 24, any::<[bool; 2]>());
        let wall = (1i64..20).prop_flat_map(move |days| {
            hours(days).prop_map(move |(offset, sliding, [moved, slides])| {
                let offset = if moved { format!("{offset}h") } else { String::new() };
                let sliding = if slides { format!("{sliding}h") } else { String::new() };
                (format!("{days}d"), offset, sliding)
            })
        });
        let fixed = (1i64..100, 0i64..100, 1i64..100).prop_map(|(width, offset, sliding)| {
            (format!("{width}m"), format!("{}m", offset % width), format!("{}m", 1 + sliding % width))
        });
        let months = (1i64..30, 0i64..27, 1i64..30, any::<bool>()).prop_map(|(width, days, sliding, own)| {
            let offset = if own { format!("{}n", days % width) } else { format!("{days}d") };
            (format!("{width}n"), offset, format!("{}n", 1 + sliding % width))
        });
        prop_oneof![4 => wall, 1 => fixed, 2 => months]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3000))]

        /// Every instant is in a window; starts ascend; without SLIDING windows leave neither gap nor overlap.
        #[test]
        fn windows_tile(
            zone in prop::sample::select(chrono_tz::TZ_VARIANTS.to_vec()),
            (width, offset, sliding) in lengths(),
            second in -2_000_000_000i64..2_200_000_000,
        ) {
            let tiled = sliding.is_empty();
            let windows = windows(&width, &offset, &sliding, zone);
            let mut tick = second * 1000;
            for _ in 0..12 {
                let own = windows.floor(tick).expect("inside the calendar");
                let (next, end) = (windows.next(own).expect("inside"), windows.end(own).expect("inside"));
                prop_assert!(own <= tick && tick < next && tick < end, "{own} {tick} {next} {end}");
                prop_assert_eq!(windows.floor(own), Some(own));
                prop_assert_eq!(windows.floor(next), Some(next));
                prop_assert_eq!(windows.floor(next - 1), Some(own));
                prop_assert!(!tiled || end == next, "{end} {next}");
                let mut all = Vec::new();
                windows.all(tick, &mut all).expect("few windows");
                prop_assert!(all.is_sorted_by(|a, b| a < b) && all.last() == Some(&own));
                prop_assert!(all.iter().all(|start| windows.end(*start).is_some_and(|end| end > tick)));
                prop_assert_eq!(windows.first(tick), all.first().copied());
                let before = windows.floor(all[0] - 1).expect("inside");
                prop_assert!(windows.end(before).expect("inside") <= tick, "{before} {tick}");
                tick = next;
            }
        }

        /// Storage counts the same windows.
        #[test]
        fn storage_has_the_same_windows(
            zone in prop::sample::select(chrono_tz::TZ_VARIANTS.to_vec()),
            (width, offset, sliding) in lengths(),
            second in -2_000_000_000i64..2_200_000_000,
            days in prop::collection::vec(0i64..400, 1..8),
        ) {
            let windows = windows(&width, &offset, &sliding, zone);
            let min = second * 1000;
            let max = min + 400 * 86_400_000;
            if let Some(grid) = windows.grid(TimeRange { min, max }) {
                for tick in days.into_iter().map(|day| min + day * 86_400_000) {
                    let (start, last) = grid.around(tick);
                    prop_assert_eq!(Some(start), windows.floor(tick));
                    prop_assert!(last == i64::MAX || Some(last + 1) == windows.next(start));
                }
            } else {
                prop_assert!(!sliding.is_empty(), "{width} {offset} {sliding}");
            }
        }

        /// A local day starts with the first instant that has its date or a later one.
        #[test]
        fn days_are_dates(
            zone in prop::sample::select(chrono_tz::TZ_VARIANTS.to_vec()),
            second in -2_000_000_000i64..2_200_000_000,
        ) {
            let windows = windows("1d", "", "", zone);
            let start = windows.floor(second * 1000).expect("inside the calendar");
            let date = |tick: i64| DateTime::from_timestamp_millis(tick).expect("a time").with_timezone(&zone).date_naive();
            prop_assert!(date(start - 1) < date(start));
            prop_assert!(date(second * 1000) <= date(start), "rows of a later date");
            prop_assert!(date(windows.end(start).expect("inside") - 1) <= date(start));
        }
    }
}
