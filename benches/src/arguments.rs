//! The command line.

const HELP: &str = "\
bench [--hosts N] [--hours N] [--clients N] [--vgroups N] [--wal 'WAL_LEVEL 2 WAL_FSYNC_PERIOD 0'] [--instances N]
      [--only insert|csv|binary] [--no-peer] [--embedded] [--wait]

  --hosts N       hosts that report (4000)
  --hours N       hours of data, one row of each host every ten seconds (1)
  --clients N     connections that load at once (1)
  --vgroups N     vgroups of the database (2)
  --wal OPTIONS   WAL options of the database (WAL_LEVEL 1)
  --instances N   instances of each query, with hosts and times of their own (10)
  --only FORM     load in one form only: insert, csv or binary; queries need binary
  --no-peer       without PostgreSQL
  --embedded      queries on DuckDB and ClickHouse too, where Python has them
  --wait          leave the server running at the end, to look at it";

/// What was asked for.
#[derive(Debug)]
pub(crate) struct Arguments {
    pub(crate) hosts: usize,
    pub(crate) hours: i64,
    pub(crate) clients: usize,
    pub(crate) vgroups: usize,
    pub(crate) wal: String,
    pub(crate) instances: usize,
    /// The table of the one form that was asked for.
    pub(crate) only: Option<&'static str>,
    pub(crate) peer: bool,
    pub(crate) embedded: bool,
    pub(crate) wait: bool,
}

impl Arguments {
    pub(crate) fn parse(mut given: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut arguments = Self {
            hosts: 4_000,
            hours: 1,
            clients: 1,
            vgroups: 2,
            wal: "WAL_LEVEL 1".to_owned(),
            instances: 10,
            only: None,
            peer: true,
            embedded: false,
            wait: false,
        };
        while let Some(flag) = given.next() {
            let mut value = || given.next().ok_or_else(|| format!("{flag} needs a value\n\n{HELP}"));
            let number = |text: String| text.parse::<usize>().map_err(|_| format!("{text} is no number\n\n{HELP}"));
            match flag.as_str() {
                "--hosts" => arguments.hosts = number(value()?)?.max(1),
                "--hours" => arguments.hours = number(value()?)?.clamp(1, 24 * 28) as i64,
                "--clients" => arguments.clients = number(value()?)?.max(1),
                "--vgroups" => arguments.vgroups = number(value()?)?.max(1),
                "--instances" => arguments.instances = number(value()?)?.max(1),
                "--wal" => arguments.wal = value()?,
                "--only" => {
                    arguments.only = Some(match value()?.as_str() {
                        "insert" => "cpu_insert",
                        "csv" => "cpu_csv",
                        "binary" => "cpu",
                        other => return Err(format!("--only {other}: insert, csv or binary\n\n{HELP}")),
                    });
                }
                "--no-peer" => arguments.peer = false,
                "--embedded" => arguments.embedded = true,
                "--wait" => arguments.wait = true,
                _ => return Err(HELP.to_owned()),
            }
        }
        Ok(arguments)
    }
}
