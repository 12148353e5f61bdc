//! TDengine's smart meters: `meters` with current, voltage and phase, tagged with a group and a location; every meter has
//! a row for each time, all meters at one time, then the next time.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::data::{Cell, Kind, Rows, START_MS, STEP_MS, Series, Source, Table};

const LOCATIONS: [&str; 10] = [
    "California.SanFrancisco",
    "California.LosAngles",
    "California.SanDiego",
    "California.SanJose",
    "California.PaloAlto",
    "California.Campbell",
    "California.MountainView",
    "California.Sunnyvale",
    "California.SantaClara",
    "California.Cupertino",
];

/// Some meters.
pub(crate) struct Meters {
    tables: Vec<Table>,
    random: StdRng,
    next_ms: i64,
}

impl Meters {
    pub(crate) fn new(meters: usize) -> Self {
        let mut random = StdRng::seed_from_u64(123);
        let series = (0..meters).map(|meter| {
            let group = random.random_range(1..=10).to_string();
            let location = LOCATIONS[random.random_range(0..LOCATIONS.len())].to_owned();
            Series { name: format!("d{meter}"), tags: vec![group, location] }
        });
        let table = Table {
            name: "meters",
            prefix: "",
            key: "name",
            columns: vec![("current", Kind::Float), ("voltage", Kind::Int), ("phase", Kind::Float)],
            tags: vec![("groupid", Kind::Int), ("location", Kind::Text)],
            series: series.collect(),
            tags_apart: false,
        };
        Self { tables: vec![table], random, next_ms: START_MS }
    }
}

impl Source for Meters {
    fn tables(&self) -> &[Table] {
        &self.tables
    }

    fn next(&mut self, ticks: usize) -> Vec<Rows> {
        let mut rows = Rows::new(0, 3);
        for _ in 0..ticks {
            for meter in 0..self.tables[0].series.len() {
                // As a meter says it: hundredths of an ampere, volts, thousandths.
                let current = f64::from(self.random.random_range(900..1_100)) / 100.0;
                let voltage = self.random.random_range(215..=225);
                let phase = f64::from(self.random.random_range(300..400)) / 1_000.0;
                rows.push(meter, self.next_ms, &[Cell::Number(current), Cell::Integer(voltage), Cell::Number(phase)]);
            }
            self.next_ms += STEP_MS;
        }
        vec![rows]
    }
}
