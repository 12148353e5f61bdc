//! The Time Series Benchmark Suite's devops shape, hosts that report nine measurements every ten seconds, and cpu-only,
//! the first of them: clamped random walks and counters, all hosts at one time, then the next time, no disorder.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::data::{Cell, Column, Kind, Rows, START_MS, STEP_MS, Series, Source, Table, normal};

/// The gauges of cpu, which the fifteen queries ask for.
pub(crate) const GAUGES: [&str; 10] = [
    "usage_user",
    "usage_system",
    "usage_idle",
    "usage_nice",
    "usage_iowait",
    "usage_irq",
    "usage_softirq",
    "usage_steal",
    "usage_guest",
    "usage_guest_nice",
];

const TAGS: [&str; 10] = [
    "hostname",
    "region",
    "datacenter",
    "rack",
    "os",
    "arch",
    "team",
    "service",
    "service_version",
    "service_environment",
];

const REGIONS: [(&str, &str); 9] = [
    ("us-east-1", "abce"),
    ("us-west-1", "ab"),
    ("us-west-2", "abc"),
    ("eu-west-1", "abc"),
    ("eu-central-1", "ab"),
    ("ap-southeast-1", "ab"),
    ("ap-southeast-2", "ab"),
    ("ap-northeast-1", "ac"),
    ("sa-east-1", "abc"),
];

/// How a value moves from one time to the next.
#[derive(Clone, Copy)]
enum Walk {
    /// A step of the standard normal distribution times this, inside these bounds.
    Clamped(f64, f64, f64),
    /// Grows by steps around this mean.
    Counter(f64),
    /// Stays as it is drawn, up to this.
    Constant(f64),
}

use Walk::{Clamped, Constant, Counter};

/// A measurement: name, tags of its own, fields. A field is an integer, or a double where it says so.
struct Measurement {
    name: &'static str,
    tags: &'static [&'static str],
    fields: &'static [(&'static str, Kind, Walk)],
}

const fn count(name: &'static str, mean: f64) -> (&'static str, Kind, Walk) {
    (name, Kind::Bigint, Counter(mean))
}

const fn level(name: &'static str, most: f64, step: f64) -> (&'static str, Kind, Walk) {
    (name, Kind::Bigint, Clamped(step, 0.0, most))
}

const fn percent(name: &'static str) -> (&'static str, Kind, Walk) {
    (name, Kind::Double, Clamped(1.0, 0.0, 100.0))
}

const fn fixed(name: &'static str, most: f64) -> (&'static str, Kind, Walk) {
    (name, Kind::Bigint, Constant(most))
}

const GIB: f64 = 1_073_741_824.0;

/// cpu is the first; `postgresl` is the suite's own spelling.
const MEASUREMENTS: [Measurement; 9] = [
    Measurement {
        name: "cpu",
        tags: &[],
        fields: &[
            level(GAUGES[0], 100.0, 1.0),
            level(GAUGES[1], 100.0, 1.0),
            level(GAUGES[2], 100.0, 1.0),
            level(GAUGES[3], 100.0, 1.0),
            level(GAUGES[4], 100.0, 1.0),
            level(GAUGES[5], 100.0, 1.0),
            level(GAUGES[6], 100.0, 1.0),
            level(GAUGES[7], 100.0, 1.0),
            level(GAUGES[8], 100.0, 1.0),
            level(GAUGES[9], 100.0, 1.0),
        ],
    },
    Measurement {
        name: "diskio",
        tags: &["serial"],
        fields: &[
            count("reads", 50.0),
            count("writes", 50.0),
            count("read_bytes", 100.0),
            count("write_bytes", 100.0),
            count("read_time", 5.0),
            count("write_time", 5.0),
            count("io_time", 5.0),
        ],
    },
    Measurement {
        name: "disk",
        tags: &["path", "fstype"],
        fields: &[
            fixed("total", 1024.0 * GIB),
            level("free", 1024.0 * GIB, 1_048_576.0),
            level("used", 1024.0 * GIB, 1_048_576.0),
            level("used_percent", 100.0, 0.1),
            fixed("inodes_total", 268_435_456.0),
            level("inodes_free", 268_435_456.0, 64.0),
            level("inodes_used", 268_435_456.0, 64.0),
        ],
    },
    Measurement {
        name: "kernel",
        tags: &[],
        fields: &[
            fixed("boot_time", 240.0),
            count("interrupts", 5.0),
            count("context_switches", 5.0),
            count("processes_forked", 5.0),
            count("disk_pages_in", 5.0),
            count("disk_pages_out", 5.0),
        ],
    },
    Measurement {
        name: "mem",
        tags: &[],
        fields: &[
            fixed("total", 16.0 * GIB),
            level("available", 16.0 * GIB, 16_777_216.0),
            level("used", 16.0 * GIB, 16_777_216.0),
            level("free", 16.0 * GIB, 16_777_216.0),
            level("cached", 16.0 * GIB, 16_777_216.0),
            level("buffered", 16.0 * GIB, 16_777_216.0),
            percent("used_percent"),
            percent("available_percent"),
            percent("buffered_percent"),
        ],
    },
    Measurement {
        name: "net",
        tags: &["interface"],
        fields: &[
            count("bytes_sent", 50.0),
            count("bytes_recv", 50.0),
            count("packets_sent", 50.0),
            count("packets_recv", 50.0),
            count("err_in", 5.0),
            count("err_out", 5.0),
            count("drop_in", 5.0),
            count("drop_out", 5.0),
        ],
    },
    Measurement {
        name: "nginx",
        tags: &["port", "server"],
        fields: &[
            count("accepts", 5.0),
            level("active", 100.0, 5.0),
            count("handled", 5.0),
            level("reading", 100.0, 5.0),
            count("requests", 5.0),
            level("waiting", 100.0, 5.0),
            level("writing", 100.0, 5.0),
        ],
    },
    Measurement {
        name: "postgresl",
        tags: &[],
        fields: &[
            level("numbackends", 1000.0, 5.0),
            level("xact_commit", 1000.0, 5.0),
            level("xact_rollback", 1000.0, 5.0),
            level("blks_read", 1000.0, 5.0),
            level("blks_hit", 1000.0, 5.0),
            level("tup_returned", 1000.0, 5.0),
            level("tup_fetched", 1000.0, 5.0),
            level("tup_inserted", 1000.0, 5.0),
            level("tup_updated", 1000.0, 5.0),
            level("tup_deleted", 1000.0, 5.0),
            level("conflicts", 1000.0, 5.0),
            level("temp_files", 1000.0, 5.0),
            level("temp_bytes", 1_048_576.0, 1024.0),
            level("deadlocks", 1000.0, 5.0),
            level("blk_read_time", 1000.0, 5.0),
            level("blk_write_time", 1000.0, 5.0),
        ],
    },
    Measurement {
        name: "redis",
        tags: &["port", "server"],
        fields: &[
            count("uptime_in_seconds", 10.0),
            count("total_connections_received", 5.0),
            count("expired_keys", 50.0),
            count("evicted_keys", 50.0),
            count("keyspace_hits", 50.0),
            count("keyspace_misses", 50.0),
            level("instantaneous_ops_per_sec", 1000.0, 1.0),
            level("instantaneous_input_kbps", 1000.0, 1.0),
            level("instantaneous_output_kbps", 1000.0, 1.0),
            level("connected_clients", 10_000.0, 50.0),
            level("used_memory", 16.0 * GIB, 52_428_800.0),
            level("used_memory_rss", 16.0 * GIB, 52_428_800.0),
            level("used_memory_peak", 16.0 * GIB, 52_428_800.0),
            level("used_memory_lua", 16.0 * GIB, 52_428_800.0),
            level("rdb_changes_since_last_save", 10_000.0, 50.0),
            count("sync_full", 5.0),
            count("sync_partial_ok", 5.0),
            count("sync_partial_err", 5.0),
            count("pubsub_channels", 5.0),
            count("pubsub_patterns", 5.0),
            count("latest_fork_usec", 5.0),
            count("connected_slaves", 5.0),
            count("master_repl_offset", 5.0),
            count("repl_backlog_active", 5.0),
            count("repl_backlog_size", 5.0),
            count("repl_backlog_histlen", 5.0),
            count("mem_fragmentation_ratio", 5.0),
            count("used_cpu_sys", 5.0),
            count("used_cpu_user", 5.0),
            count("used_cpu_sys_children", 5.0),
            count("used_cpu_user_children", 5.0),
        ],
    },
];

/// Hosts with their tags, and where their values stand.
pub(crate) struct Hosts {
    tables: Vec<Table>,
    /// For each table: the values of its hosts, one after the other.
    values: Vec<Vec<f64>>,
    random: StdRng,
    next_ms: i64,
}

impl Hosts {
    /// Hosts that report cpu alone. Their child tables have the hosts' names.
    pub(crate) fn cpu_only(hosts: usize) -> Self {
        Self::new(hosts, &MEASUREMENTS[..1])
    }

    pub(crate) fn devops(hosts: usize) -> Self {
        Self::new(hosts, &MEASUREMENTS)
    }

    fn new(hosts: usize, measurements: &[Measurement]) -> Self {
        let mut random = StdRng::seed_from_u64(123);
        let series: Vec<Series> = (0..hosts).map(|host| tags(&mut random, host)).collect();
        let tables = measurements.iter().map(|measurement| table(&mut random, measurement, &series)).collect();
        let mut values = Vec::new();
        for measurement in measurements {
            let fields = measurement.fields.iter().cycle().take(hosts * measurement.fields.len());
            let starts = fields.map(|(_, _, walk)| match walk {
                Clamped(_, least, most) => random.random_range(*least..*most),
                Counter(_) => 0.0,
                Constant(most) => random.random_range(0.0..*most).floor(),
            });
            values.push(starts.collect());
        }
        Self { tables, values, random, next_ms: START_MS }
    }
}

fn tags(random: &mut StdRng, host: usize) -> Series {
    let (region, zones) = REGIONS[random.random_range(0..REGIONS.len())];
    let zone = zones.as_bytes()[random.random_range(0..zones.len())] as char;
    let mut one_of = |choices: &[&str]| choices[random.random_range(0..choices.len())].to_owned();
    let os = one_of(&["Ubuntu16.10", "Ubuntu16.04LTS", "Ubuntu15.10"]);
    let arch = one_of(&["x64", "x86"]);
    let team = one_of(&["SF", "NYC", "LON", "CHI"]);
    let environment = one_of(&["production", "staging", "test"]);
    let mut number = |below: u32| random.random_range(0..below).to_string();
    let (rack, service, version) = (number(100), number(20), number(2));
    let (name, datacenter) = (format!("host_{host}"), format!("{region}{zone}"));
    let tags = vec![name.clone(), region.into(), datacenter, rack, os, arch, team, service, version, environment];
    Series { name, tags }
}

fn table(random: &mut StdRng, measurement: &Measurement, hosts: &[Series]) -> Table {
    let columns: Vec<Column> = measurement.fields.iter().map(|(name, kind, _)| (*name, *kind)).collect();
    let all = TAGS.iter().chain(measurement.tags);
    let mut series = hosts.to_vec();
    for one in &mut series {
        one.tags.extend(measurement.tags.iter().map(|tag| match *tag {
            "path" => "/dev/sda1".to_owned(),
            "fstype" => ["ext3", "ext4", "btrfs"][random.random_range(0..3)].to_owned(),
            "interface" => "eth0".to_owned(),
            "server" => format!("nginx_{}", random.random_range(0..100_000)),
            "port" => random.random_range(1_024..65_536).to_string(),
            _ => format!("{:03}-{:03}", random.random_range(0..1_000), random.random_range(0..1_000)),
        }));
    }
    Table {
        name: measurement.name,
        prefix: if measurement.name == "cpu" { "" } else { prefix(measurement.name) },
        key: "hostname",
        columns,
        tags: all.map(|tag| (*tag, Kind::Text)).collect(),
        series,
        tags_apart: false,
    }
}

/// `mem_` of `mem`: a host has a child table of each measurement.
fn prefix(measurement: &str) -> &'static str {
    match measurement {
        "diskio" => "diskio_",
        "disk" => "disk_",
        "kernel" => "kernel_",
        "mem" => "mem_",
        "net" => "net_",
        "nginx" => "nginx_",
        "postgresl" => "postgresl_",
        _ => "redis_",
    }
}

impl Source for Hosts {
    fn tables(&self) -> &[Table] {
        &self.tables
    }

    fn next(&mut self, ticks: usize) -> Vec<Rows> {
        let mut all = Vec::new();
        for (n, (measurement, values)) in MEASUREMENTS.iter().zip(&mut self.values).enumerate() {
            let fields = measurement.fields;
            let mut rows = Rows::new(n, fields.len());
            let mut cells = vec![Cell::Null; fields.len()];
            for tick in 0..ticks {
                for (host, values) in values.chunks_mut(fields.len()).enumerate() {
                    for ((value, (_, kind, walk)), cell) in values.iter_mut().zip(fields).zip(&mut cells) {
                        *value = step(&mut self.random, *value, *walk);
                        *cell = if *kind == Kind::Double { Cell::Number(*value) } else { Cell::Integer(*value as i64) };
                    }
                    rows.push(host, self.next_ms + tick as i64 * STEP_MS, &cells);
                }
            }
            all.push(rows);
        }
        self.next_ms += ticks as i64 * STEP_MS;
        all
    }
}

fn step(random: &mut StdRng, value: f64, walk: Walk) -> f64 {
    match walk {
        Clamped(step, least, most) => (value + step * normal(random)).clamp(least, most),
        Counter(mean) => value + (mean + normal(random)).max(0.0),
        Constant(_) => value,
    }
}
