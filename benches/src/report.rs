//! What a run says: Markdown, as it comes on stdout, and at the end of a file if one was named.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

/// The text of one run.
pub(crate) struct Report {
    file: Option<PathBuf>,
    text: String,
}

impl Report {
    /// Begins with what was called, on which machine and which sources.
    pub(crate) fn new(file: Option<PathBuf>, title: &str) -> Self {
        let mut report = Self { file, text: String::new() };
        let call: Vec<String> = std::env::args().skip(1).map(|word| quoted(&word)).collect();
        report.line(&format!("## {title}\n"));
        report.line(&format!("`bench {}`, {}\n", call.join(" "), machine()));
        report
    }

    /// A line, or a paragraph if it ends with a line's end.
    pub(crate) fn line(&mut self, text: &str) {
        println!("{text}");
        self.text.push_str(text);
        self.text.push('\n');
    }

    /// A table; what stands in the first column is text, the rest are numbers.
    pub(crate) fn table(&mut self, head: &[&str], rows: &[Vec<String>]) {
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column)).map(String::len);
            cells.chain([head[column].len()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..head.len()).map(width).collect();
        let row = |cells: &mut dyn Iterator<Item = &str>| {
            let mut line = String::from("|");
            for (n, (cell, width)) in cells.zip(&widths).enumerate() {
                let _ = if n == 0 { write!(line, " {cell:<width$} |") } else { write!(line, " {cell:>width$} |") };
            }
            line
        };
        let mut text = row(&mut head.iter().copied());
        text.push_str("\n|");
        for (n, width) in widths.iter().enumerate() {
            let _ = write!(text, "{}{}|", "-".repeat(width + 1), if n == 0 { "-" } else { ":" });
        }
        for cells in rows {
            let _ = write!(text, "\n{}", row(&mut cells.iter().map(String::as_str)));
        }
        text.push('\n');
        self.line(&text);
    }

    /// Appends everything to the file.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub(crate) fn finish(self) -> std::io::Result<()> {
        let Some(path) = self.file else { return Ok(()) };
        let new = !path.exists();
        let mut file = std::fs::File::options().create(true).append(true).open(&path)?;
        if new {
            let name = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            writeln!(file, "# Measured on {name}\n")?;
        }
        writeln!(file, "{}", self.text.trim_end())?;
        writeln!(file)
    }
}

/// A rate or a count, with commas between thousands.
pub(crate) fn count(value: f64) -> String {
    let digits = format!("{value:.0}");
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits.as_str()), |digits| ("-", digits));
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap_or("")).collect();
    format!("{sign}{}", groups.join(","))
}

fn quoted(word: &str) -> String {
    if word.contains(' ') { format!("'{word}'") } else { word.to_owned() }
}

/// Cores, memory, how busy others keep it, and what was measured.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let info = read("/proc/cpuinfo");
    let model =
        info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':')).map_or("", |(_, name)| name);
    let memory = read("/proc/meminfo");
    let kib =
        memory.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().split(' ').next()?.parse::<u64>().ok());
    let gib = kib.unwrap_or(0) as f64 / f64::from(1 << 20);
    let load = read("/proc/loadavg").split(' ').next().unwrap_or("?").to_owned();
    let commit = said("git", &["rev-parse", "--short", "HEAD"]);
    let time = said("date", &["-u", "+%Y-%m-%d %H:%M UTC"]);
    format!("commit {commit}, {time}, {cores} cores of{model}, {gib:.0} GiB, load {load} before it began.")
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(tests::root()).output();
    output
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_else(|_| "unknown".to_owned())
}
