//! The Time Series Benchmark Suite's IoT shape: trucks that report where they are (`readings`) and how they are
//! (`diagnostics`) every ten seconds, and lose, delay and cut what they report.
//!
//! Entries travel in batches of ten. A batch is lost with 1 %, delayed with 5 %; an entry is lost with 10 %, delayed with
//! 30 %, without one of its values with 10 %. What is delayed comes after the next one with 50 %, else later. The suite
//! also loses tags, which here belong to the truck and not to the row.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::data::{Cell, Kind, Rows, START_MS, STEP_MS, Series, Source, Table};

/// Entries of a batch.
const BATCH: usize = 10;
/// Model, load and fuel capacity, nominal consumption.
const MODELS: [(&str, i64, i64, i64); 3] =
    [("F-150", 2_000, 200, 15), ("G-2000", 5_000, 300, 19), ("H-2", 1_500, 150, 12)];
/// The fleets.
pub(crate) const FLEETS: [&str; 4] = ["East", "West", "North", "South"];

/// An entry on its way: table, truck, time, values.
type Entry = (usize, usize, i64, Vec<Cell>);

/// Where a truck is and how it is.
struct Truck {
    latitude: f64,
    longitude: f64,
    elevation: f64,
    velocity: f64,
    heading: f64,
    grade: f64,
    consumption: f64,
    fuel: f64,
    load: f64,
    status: f64,
}

/// Trucks, and what of theirs is under way.
pub(crate) struct Trucks {
    tables: Vec<Table>,
    trucks: Vec<Truck>,
    random: StdRng,
    batch: Vec<Entry>,
    late: Vec<Entry>,
    late_batches: Vec<Vec<Entry>>,
    next_ms: i64,
}

impl Trucks {
    pub(crate) fn new(trucks: usize) -> Self {
        let mut random = StdRng::seed_from_u64(123);
        let series: Vec<Series> = (0..trucks).map(|truck| tags(&mut random, truck)).collect();
        let trucks = (0..trucks).map(|_| Truck::new(&mut random)).collect();
        let number = |name| (name, Kind::Double);
        let readings = ["latitude", "longitude", "elevation", "velocity", "heading", "grade", "fuel_consumption"];
        let table = |name, prefix, columns, tags_apart| Table {
            name,
            prefix,
            key: "name",
            columns,
            tags: [
                ("name", Kind::Text),
                ("fleet", Kind::Text),
                ("driver", Kind::Text),
                ("model", Kind::Text),
                ("device_version", Kind::Text),
                ("load_capacity", Kind::Double),
                ("fuel_capacity", Kind::Double),
                ("nominal_fuel_consumption", Kind::Double),
            ]
            .to_vec(),
            series: series.clone(),
            tags_apart,
        };
        let diagnostics = vec![number("fuel_state"), number("current_load"), ("status", Kind::Bigint)];
        let tables = vec![
            table("readings", "r_", readings.map(number).to_vec(), true),
            table("diagnostics", "d_", diagnostics, false),
        ];
        Self {
            tables,
            trucks,
            random,
            batch: Vec::new(),
            late: Vec::new(),
            late_batches: Vec::new(),
            next_ms: START_MS,
        }
    }

    /// What one truck reports at one time.
    fn report(&mut self, truck: usize, ms: i64) -> [Entry; 2] {
        self.trucks[truck].drive(&mut self.random);
        let now = &self.trucks[truck];
        let round = |value: f64, places: i32| Cell::Number((value * 10_f64.powi(places)).round() / 10_f64.powi(places));
        let mut readings = vec![
            round(now.latitude, 5),
            round(now.longitude, 5),
            round(now.elevation, 0),
            round(now.velocity, 0),
            round(now.heading, 0),
            round(now.grade, 0),
            round(now.consumption, 1),
        ];
        let mut diagnostics = vec![round(now.fuel, 1), round(now.load, 0), Cell::Integer(now.status as i64)];
        for cells in [&mut readings, &mut diagnostics] {
            if self.random.random_bool(0.1) {
                let lost = self.random.random_range(0..cells.len());
                cells[lost] = Cell::Null;
            }
        }
        [(0, truck, ms, readings), (1, truck, ms, diagnostics)]
    }

    /// One more entry for the batch, or not, and late ones with it.
    fn send(&mut self, entry: Entry, out: &mut [Rows]) {
        if !self.random.random_bool(0.1) {
            if self.random.random_bool(0.3) {
                self.late.push(entry);
            } else {
                self.batch.push(entry);
                if !self.late.is_empty() && self.random.random_bool(0.5) {
                    let at = self.random.random_range(0..self.late.len());
                    self.batch.push(self.late.swap_remove(at));
                }
            }
        }
        if self.batch.len() < BATCH {
            return;
        }
        let batch = std::mem::take(&mut self.batch);
        if self.random.random_bool(0.01) {
            return;
        }
        if self.random.random_bool(0.05) {
            self.late_batches.push(batch);
            return;
        }
        deliver(batch, out);
        if !self.late_batches.is_empty() && self.random.random_bool(0.5) {
            let at = self.random.random_range(0..self.late_batches.len());
            deliver(self.late_batches.swap_remove(at), out);
        }
    }

    fn empty(&self) -> Vec<Rows> {
        self.tables.iter().enumerate().map(|(n, table)| Rows::new(n, table.columns.len())).collect()
    }
}

fn deliver(batch: Vec<Entry>, out: &mut [Rows]) {
    for (table, truck, ms, cells) in batch {
        out[table].push(truck, ms, &cells);
    }
}

fn tags(random: &mut StdRng, truck: usize) -> Series {
    let (model, load, fuel, consumption) = MODELS[random.random_range(0..MODELS.len())];
    let mut one_of = |choices: &[&str]| choices[random.random_range(0..choices.len())].to_owned();
    let name = format!("truck_{truck}");
    let fleet = one_of(&FLEETS);
    let driver = one_of(&["Derek", "Rodney", "Albert", "Andy", "Seth", "Trish"]);
    let version = one_of(&["v1.0", "v1.5", "v2.0", "v2.3"]);
    let numbers = [load, fuel, consumption].map(|number| number.to_string());
    let tags = [name.clone(), fleet, driver, model.to_owned(), version].into_iter().chain(numbers).collect();
    Series { name, tags }
}

impl Truck {
    fn new(random: &mut StdRng) -> Self {
        Self {
            latitude: random.random::<f64>() * 90.0,
            longitude: random.random::<f64>() * 180.0,
            elevation: random.random::<f64>() * 500.0,
            velocity: 0.0,
            heading: random.random::<f64>() * 360.0,
            grade: 0.0,
            consumption: 25.0,
            fuel: 1.0,
            load: random.random::<f64>() * 5_000.0,
            status: 0.0,
        }
    }

    fn drive(&mut self, random: &mut StdRng) {
        let mut walk = |value: &mut f64, step: f64, least: f64, most: f64| {
            *value = (*value + random.random_range(-step..step)).clamp(least, most);
        };
        walk(&mut self.latitude, 0.005, -90.0, 90.0);
        walk(&mut self.longitude, 0.005, -180.0, 180.0);
        walk(&mut self.elevation, 10.0, 0.0, 5_000.0);
        walk(&mut self.velocity, 10.0, 0.0, 100.0);
        walk(&mut self.heading, 5.0, 0.0, 360.0);
        walk(&mut self.grade, 5.0, 0.0, 100.0);
        walk(&mut self.consumption, 5.0, 0.0, 50.0);
        self.fuel -= random.random_range(0.0..0.001);
        if self.fuel <= 0.0 {
            self.fuel = 1.0;
        }
        if random.random_bool(0.05) {
            self.load = random.random::<f64>() * 5_000.0;
        }
        self.status = (self.status + crate::data::normal(random)).clamp(0.0, 5.0);
    }
}

impl Source for Trucks {
    fn tables(&self) -> &[Table] {
        &self.tables
    }

    fn next(&mut self, ticks: usize) -> Vec<Rows> {
        let mut out = self.empty();
        for _ in 0..ticks {
            for truck in 0..self.trucks.len() {
                for entry in self.report(truck, self.next_ms) {
                    self.send(entry, &mut out);
                }
            }
            self.next_ms += STEP_MS;
        }
        out
    }

    fn rest(&mut self) -> Vec<Rows> {
        let mut out = self.empty();
        for batch in std::mem::take(&mut self.late_batches) {
            deliver(batch, &mut out);
        }
        deliver(std::mem::take(&mut self.batch), &mut out);
        deliver(std::mem::take(&mut self.late), &mut out);
        out
    }
}
