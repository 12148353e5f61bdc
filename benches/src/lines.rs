//! Peers that take line protocol over HTTP, as Debian packages them: VictoriaMetrics and InfluxDB 1. Both are loaded with
//! the same rows; InfluxDB is asked the questions of cpu too, in InfluxQL.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::answers::Answer;
use crate::arguments::Arguments;
use crate::cpu;
use crate::data::{Dialect, HOUR_MS, START_MS, STEP_ROWS, Source, line_protocol, step_ticks, time_text};
use crate::http::{Http, escape};
use crate::load::Load;
use crate::queries::{Line, Run};
use crate::report::{Report, count};
use crate::suites::{Extent, Question};

/// Lines of one request.
const BATCH: usize = 10_000;
/// Longest time that a start may take.
const START_MAX: Duration = Duration::from_secs(60);

/// A server of another's, stopped on every way out.
struct Peer {
    name: &'static str,
    child: Child,
    folder: TempDir,
    http: Http,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Loads both and adds what InfluxDB took to the lines; the names of those that answer queries.
pub(crate) async fn run(
    lines: &mut [Line],
    questions: &[Question],
    arguments: &Arguments,
    report: &mut Report,
) -> Vec<String> {
    let mut rows = Vec::new();
    if let Some(mut peer) = started(Peer::victoria().await, "victoria-metrics", report) {
        let load = peer.load(arguments).await;
        let counted = peer.counted(arguments).await;
        peer.must("GET", "/internal/force_flush", b"").await;
        rows.push(row(&peer, &load));
        report.line(&format!("VictoriaMetrics has {counted} values of the first field, of {} rows.\n", load.rows));
    }
    let mut names = Vec::new();
    if let Some(mut peer) = started(Peer::influx().await, "influxdb", report) {
        peer.must("POST", "/query?q=CREATE%20DATABASE%20bench", b"").await;
        let load = peer.load(arguments).await;
        rows.push(row(&peer, &load));
        let extent = Extent { series: arguments.hosts, hours: arguments.hours };
        for question in questions {
            let texts = question.instances(arguments.instances + 1, extent, Dialect::Influx);
            let run = match texts {
                Some(texts) => Some(peer.ask(question.name, &texts).await),
                None => None,
            };
            let line = lines.iter_mut().find(|line| line.name == question.name);
            line.expect("every question was asked of ours").peers.push(run);
        }
        names.push(peer.name.to_owned());
    }
    if !rows.is_empty() {
        report.table(&["line protocol", "rows/s", "rows/CPU s", "bytes/row"], &rows);
    }
    names
}

fn row(peer: &Peer, load: &Load) -> Vec<String> {
    let bytes = cpu::folder_bytes(peer.folder.path()) as f64 / load.rows.max(1) as f64;
    vec![peer.name.to_owned(), count(load.rate()), count(load.cpu_rate()), format!("{bytes:.1}")]
}

/// A peer that came up, or a word on why it did not.
fn started(peer: Result<Peer, String>, package: &str, report: &mut Report) -> Option<Peer> {
    peer.map_err(|why| {
        report.line(&format!("{package} is not measured: {why} (`scripts/bench-peers` fetches {package}).\n"))
    })
    .ok()
}

/// A program of the PATH, or as `scripts/bench-peers` unpacks it.
fn program(name: &str) -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([::tests::root().join("target/peers/usr/bin")]);
    let found = folders.map(|folder| folder.join(name)).find(|file| file.is_file());
    found.ok_or_else(|| format!("{name} is not there"))
}

impl Peer {
    async fn victoria() -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|fault| fault.to_string())?;
        let port = ::tests::free_port();
        let mut command = Command::new(program("victoria-metrics")?);
        command
            .arg(format!("-storageDataPath={}", folder.path().display()))
            .arg(format!("-httpListenAddr=127.0.0.1:{port}"))
            .args([
                "-retentionPeriod=100y",
                "-search.maxSamplesPerQuery=100000000000",
                "-search.maxUniqueTimeseries=10000000",
            ]);
        Self::start("VictoriaMetrics", command, folder, port, "/health").await
    }

    async fn influx() -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|fault| fault.to_string())?;
        let (port, rpc) = (::tests::free_port(), ::tests::free_port());
        let config = folder.path().join("influxdb.conf");
        std::fs::write(&config, influx_config(folder.path(), port, rpc)).map_err(|fault| fault.to_string())?;
        let mut command = Command::new(program("influxd")?);
        command.arg("run").arg("-config").arg(&config);
        Self::start("InfluxDB 1", command, folder, port, "/ping").await
    }

    async fn start(
        name: &'static str,
        mut command: Command,
        folder: TempDir,
        port: u16,
        health: &str,
    ) -> Result<Self, String> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut child = child.map_err(|fault| fault.to_string())?;
        let begun = Instant::now();
        loop {
            if let Ok(mut http) = Http::connect(port).await
                && http.ask("GET", health, b"").await.is_ok()
            {
                return Ok(Self { name, child, folder, http });
            }
            if let Ok(Some(status)) = child.try_wait() {
                return Err(format!("{name} ended with {status}"));
            }
            if begun.elapsed() > START_MAX {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("{name} does not come up"));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn must(&mut self, method: &str, target: &str, body: &[u8]) -> Vec<u8> {
        self.http.ask(method, target, body).await.unwrap_or_else(|why| panic!("{}: {why}", self.name))
    }

    /// All rows, in requests of some thousand lines. Making the lines is not counted.
    async fn load(&mut self, arguments: &Arguments) -> Load {
        let mut source = arguments.shape.source(arguments.hosts);
        let (step, mut left, mut load) = (step_ticks(&*source, STEP_ROWS), arguments.ticks(), Load::default());
        while left > 0 {
            let ticks = step.min(left);
            left -= ticks;
            let rows = source.next(ticks);
            for rows in rows {
                self.send(&*source, &rows, &mut load).await;
            }
        }
        for rows in source.rest() {
            self.send(&*source, &rows, &mut load).await;
        }
        let cpu = cpu::seconds(self.child.id());
        tokio::time::sleep(Duration::from_secs(2)).await;
        load.cpu_seconds += cpu::seconds(self.child.id()) - cpu;
        load
    }

    async fn send(&mut self, source: &dyn Source, rows: &crate::data::Rows, load: &mut Load) {
        let all: Vec<usize> = (0..rows.len()).collect();
        let table = &source.tables()[rows.table];
        let bodies: Vec<_> = all.chunks(BATCH).map(|some| line_protocol(table, &rows.pick(some))).collect();
        let (start, cpu) = (Instant::now(), cpu::seconds(self.child.id()));
        for body in bodies {
            self.must("POST", "/write?db=bench&precision=ms", &body).await;
        }
        load.rows += rows.len();
        load.seconds += start.elapsed().as_secs_f64();
        load.cpu_seconds += cpu::seconds(self.child.id()) - cpu;
    }

    /// Values of the first field of the first table that VictoriaMetrics has, by its own word.
    async fn counted(&mut self, arguments: &Arguments) -> String {
        let source = arguments.shape.source(1);
        let table = &source.tables()[0];
        let query = format!("sum(count_over_time({}_{}[{}h]))", table.name, table.columns[0].0, arguments.hours);
        let end = (START_MS + arguments.hours * HOUR_MS) / 1_000 - 1;
        let target = format!("/api/v1/query?nocache=1&time={end}&query={}", escape(&query));
        let body = self.must("GET", &target, b"").await;
        let text = String::from_utf8_lossy(&body).into_owned();
        // {"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1451610000,"36000"]}]}}
        text.rsplit('"').nth(1).unwrap_or("no").to_owned()
    }

    /// Times of a question of cpu, in InfluxQL.
    async fn ask(&mut self, name: &str, texts: &[String]) -> Run {
        let mut times = Vec::new();
        let (mut rows, mut sum, mut first) = (0, 0.0, Answer::default());
        for (instance, sql) in texts.iter().enumerate() {
            let target = format!("/query?db=bench&epoch=ms&q={}", escape(sql));
            let start = Instant::now();
            let body = self.must("GET", &target, b"").await;
            let elapsed = start.elapsed().as_secs_f64() * 1e3;
            let lines = arranged(name, &String::from_utf8_lossy(&body));
            if instance == 0 {
                first = Answer::of_lines(lines.iter().map(String::as_str));
                continue;
            }
            times.push(elapsed);
            rows += lines.len();
            sum += lines
                .iter()
                .flat_map(|line| line.split('\t'))
                .filter_map(|value| value.parse::<f64>().ok())
                .sum::<f64>();
        }
        Run::new(times, rows, sum, first)
    }
}

/// Lines of InfluxDB's csv (`name,tags,time,values…`) as the other engines have them: time and host where they stand
/// there, in their order.
fn arranged(question: &str, text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for line in text.lines().filter(|line| line.starts_with("cpu,")) {
        let values: Vec<&str> = line.split(',').collect();
        let time = values[2].parse().map_or_else(|_| values[2].to_owned(), time_text);
        let host = values[1].trim_start_matches("hostname=");
        let rest = values[3..].join("\t");
        lines.push(match question {
            "double-groupby-1" | "double-groupby-5" | "double-groupby-all" => format!("{time}\t{host}\t{rest}"),
            "lastpoint" => format!("{host}\t{time}\t{rest}"),
            "high-cpu-1" | "high-cpu-all" => format!("{}\t{time}\t{}", values[3], values[4..].join("\t")),
            _ => format!("{time}\t{rest}"),
        });
    }
    if question.starts_with("double-groupby") {
        lines.sort();
    }
    lines
}

/// Everything inside one folder, nothing sent home, no limits.
fn influx_config(folder: &Path, port: u16, rpc: u16) -> String {
    let at = folder.display();
    format!(
        "reporting-disabled = true\nbind-address = \"127.0.0.1:{rpc}\"\n\
         [meta]\ndir = \"{at}/meta\"\n\
         [data]\ndir = \"{at}/data\"\nwal-dir = \"{at}/wal\"\nindex-version = \"tsi1\"\n\
         query-log-enabled = false\nmax-series-per-database = 0\nmax-values-per-tag = 0\n\
         [monitor]\nstore-enabled = false\n\
         [http]\nbind-address = \"127.0.0.1:{port}\"\nlog-enabled = false\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn influxdb_s_csv_is_arranged_as_other_engines_answer() {
        let csv = "name,tags,time,mean\ncpu,hostname=host_1,1451606400000,2.5\ncpu,hostname=host_0,1451606400000,7\n";
        let expected = ["2016-01-01 00:00:00+00\thost_0\t7", "2016-01-01 00:00:00+00\thost_1\t2.5"];
        assert_eq!(arranged("double-groupby-1", csv), expected);
        assert_eq!(arranged("lastpoint", csv)[0], "host_1\t2016-01-01 00:00:00+00\t2.5");
        let rows = "name,tags,time,hostname,usage_user\ncpu,,1451606410000,host_3,91\n";
        assert_eq!(arranged("high-cpu-1", rows), ["host_3\t2016-01-01 00:00:10+00\t91"]);
    }
}
