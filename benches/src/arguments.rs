//! The command line: what is measured, and on how much data.

use std::path::PathBuf;

use crate::data::Form;
use crate::shapes::Shape;

/// What can be measured, and how [`HELP`] says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Suite,
    Ingest,
    Disorder,
    Cardinality,
    Recovery,
    Flat,
    Size,
    Answers,
}

const MODES: [(&str, Mode); 8] = [
    ("suite", Mode::Suite),
    ("ingest", Mode::Ingest),
    ("disorder", Mode::Disorder),
    ("cardinality", Mode::Cardinality),
    ("recovery", Mode::Recovery),
    ("flat", Mode::Flat),
    ("size", Mode::Size),
    ("answers", Mode::Answers),
];

const HELP: &str = "\
bench [MODE] [OPTIONS]

  suite         loads a shape in each form, then runs its queries, next to the peers (the default)
  ingest        forms × clients × WAL policies, the policies in turns in one run, next to PostgreSQL
  disorder      the same rows with 0, 5 and 30 % of them late, in turns
  cardinality   the same number of rows over 1,000, 100,000 and 1,000,000 series, in turns
  recovery      kill -9 after a load without a flush: time until ready, log replayed per second
  flat          the same one-hour queries while 1 h, 12 h and 168 h of data are there
  size          bytes per row after a flush, after compaction, next to PostgreSQL
  answers       shuffled load with updates and deletes; answers value by value, in every state and with every setting

  --shape S        cpu, devops, iot or meters (cpu)
  --hosts N        hosts, trucks or meters that report (4000; flat and answers 100)
  --hours N        hours of data, a row of each every ten seconds (1)
  --clients N,…    connections that load at once (1; ingest 1,4,50)
  --batch N        rows of an INSERT, of a COPY, or between two Syncs (INSERT and prepared 1000, COPY 10000)
  --form F,…       insert, prepared, csv, binary: only these; queries of the suite need binary (all)
  --vgroups N      vgroups of the database (2)
  --wal OPTIONS    WAL options of the database where one policy is measured (WAL_LEVEL 1)
  --options TEXT   more options of the database (answers CACHEMODEL 'both', else none)
  --set KEY=VALUE  a setting of our server; may be repeated
  --series N,…     cardinality: how many series (1000,100000,1000000)
  --rows N         cardinality: rows of each (4000000)
  --late N,…       disorder: per cent of the rows (0,5,30)
  --steps N,…      flat: hours of data at which is asked (1,12,168)
  --instances N    instances of each query, with hosts and times of their own (10)
  --no-peer        without PostgreSQL
  --embedded       suite and answers on DuckDB, suite on ClickHouse (chdb) too, where Python has them
  --debian         suite on VictoriaMetrics and InfluxDB too, as scripts/bench-peers fetches them
  --report FILE    appends what is said to this file
  --wait           suite: leave the server running at the end, to look at it";

/// What was asked for.
#[derive(Debug)]
pub(crate) struct Arguments {
    pub(crate) mode: Mode,
    pub(crate) shape: Shape,
    pub(crate) hosts: usize,
    pub(crate) hours: i64,
    pub(crate) clients: Vec<usize>,
    pub(crate) batch: Option<usize>,
    pub(crate) forms: Vec<Form>,
    pub(crate) vgroups: usize,
    pub(crate) wal: String,
    pub(crate) options: String,
    pub(crate) settings: Vec<String>,
    pub(crate) series: Vec<usize>,
    pub(crate) rows: usize,
    pub(crate) late: Vec<usize>,
    pub(crate) steps: Vec<i64>,
    pub(crate) instances: usize,
    pub(crate) peer: bool,
    pub(crate) embedded: bool,
    pub(crate) debian: bool,
    pub(crate) report: Option<PathBuf>,
    pub(crate) wait: bool,
}

impl Arguments {
    fn of(mode: Mode) -> Self {
        Self {
            mode,
            shape: Shape::Cpu,
            hosts: if matches!(mode, Mode::Flat | Mode::Answers) { 100 } else { 4_000 },
            hours: 1,
            clients: if mode == Mode::Ingest { vec![1, 4, 50] } else { vec![1] },
            batch: None,
            forms: Form::ALL.to_vec(),
            vgroups: 2,
            wal: "WAL_LEVEL 1".to_owned(),
            // Newest values in memory are to be compared too.
            options: if mode == Mode::Answers { "CACHEMODEL 'both'".to_owned() } else { String::new() },
            settings: Vec::new(),
            series: vec![1_000, 100_000, 1_000_000],
            rows: 4_000_000,
            late: vec![0, 5, 30],
            steps: vec![1, 12, 168],
            instances: 10,
            peer: true,
            embedded: false,
            debian: false,
            report: None,
            wait: false,
        }
    }

    /// # Errors
    ///
    /// What is wrong, and what could be said.
    pub(crate) fn parse(given: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut given = given.peekable();
        let mode = match given.next_if(|word| !word.starts_with('-')) {
            None => Mode::Suite,
            Some(word) => match MODES.iter().find(|(name, _)| *name == word) {
                Some((_, mode)) => *mode,
                None => return Err(format!("{word}: no such mode\n\n{HELP}")),
            },
        };
        let mut arguments = Self::of(mode);
        while let Some(flag) = given.next() {
            arguments.flag(&flag, &mut given).map_err(|problem| format!("{problem}\n\n{HELP}"))?;
        }
        Ok(arguments)
    }

    fn flag(&mut self, flag: &str, given: &mut impl Iterator<Item = String>) -> Result<(), String> {
        let mut value = || given.next().ok_or_else(|| format!("{flag} needs a value"));
        match flag {
            "--shape" => self.shape = one_of(&Shape::ALL, &value()?)?,
            "--hosts" => self.hosts = number(&value()?)?,
            "--hours" => self.hours = hours(&value()?)?,
            "--clients" => self.clients = list(&value()?, number)?,
            "--batch" => self.batch = Some(number(&value()?)?),
            "--form" => self.forms = list(&value()?, |word| one_of(&FORMS, word))?,
            "--vgroups" => self.vgroups = number(&value()?)?,
            "--wal" => self.wal = value()?,
            "--options" => self.options = value()?,
            "--set" => self.settings.push(value()?),
            "--series" => self.series = list(&value()?, number)?,
            "--rows" => self.rows = number(&value()?)?,
            "--late" => self.late = list(&value()?, percent)?,
            "--steps" => self.steps = list(&value()?, hours)?,
            "--instances" => self.instances = number(&value()?)?,
            "--report" => self.report = Some(PathBuf::from(value()?)),
            "--no-peer" => self.peer = false,
            "--embedded" => self.embedded = true,
            "--debian" => self.debian = true,
            "--wait" => self.wait = true,
            _ => return Err(format!("{flag}: no such option")),
        }
        Ok(())
    }

    /// Rows of one statement in a form.
    pub(crate) fn batch_rows(&self, form: Form) -> usize {
        self.batch.unwrap_or(form.batch_rows())
    }

    /// Times that each series reports at.
    pub(crate) fn ticks(&self) -> usize {
        self.hours as usize * 360
    }

    /// Options of our database, where one WAL policy is measured.
    pub(crate) fn database(&self) -> String {
        format!("{} {}", self.wal, self.options)
    }
}

const FORMS: [(&str, Form); 4] =
    [("insert", Form::Insert), ("prepared", Form::Prepared), ("csv", Form::CopyCsv), ("binary", Form::CopyBinary)];

fn one_of<T: Copy>(choices: &[(&str, T)], word: &str) -> Result<T, String> {
    let found = choices.iter().find(|(name, _)| *name == word).map(|(_, choice)| *choice);
    found.ok_or_else(|| {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        format!("{word}: one of {} is needed", names.join(", "))
    })
}

/// A number above 0.
fn number(word: &str) -> Result<usize, String> {
    match word.replace('_', "").parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(format!("{word} is no number above 0")),
    }
}

fn percent(word: &str) -> Result<usize, String> {
    match word.parse() {
        Ok(percent) if percent <= 90 => Ok(percent),
        _ => Err(format!("{word} is not between 0 and 90 per cent")),
    }
}

/// All data lies in one January.
fn hours(word: &str) -> Result<i64, String> {
    match word.parse() {
        Ok(hours) if (1..=24 * 28).contains(&hours) => Ok(hours),
        _ => Err(format!("{word} is not between 1 and 672 hours")),
    }
}

fn list<T>(words: &str, each: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    words.split(',').map(|word| each(word.trim())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, String> {
        Arguments::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn a_mode_comes_first_and_has_its_own_defaults() {
        assert_eq!(parse("").unwrap().mode, Mode::Suite);
        let ingest = parse("ingest --hosts 10 --form csv,binary").unwrap();
        assert_eq!((ingest.mode, ingest.hosts, ingest.clients), (Mode::Ingest, 10, vec![1, 4, 50]));
        assert_eq!(ingest.forms, [Form::CopyCsv, Form::CopyBinary]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for line in ["speed", "--hosts", "--hosts x", "--hosts 0", "--late 95", "--form tsv", "--fast", "--hours 700"] {
            assert!(parse(line).unwrap_err().contains("bench [MODE]"), "{line}");
        }
    }
}
