//! Sizes as settings say them: bytes with or without a unit, or a share of what there is.

use std::path::Path;

/// Units, each 1024 of the one before. `kB`, `MB` … mean the same, as in PostgreSQL's settings.
const UNITS: [(&str, u32); 10] = [
    ("kib", 10),
    ("mib", 20),
    ("gib", 30),
    ("tib", 40),
    ("kb", 10),
    ("mb", 20),
    ("gb", 30),
    ("tb", 40),
    ("b", 0),
    ("", 0),
];

/// How much of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// What is usual.
    Auto,
    /// This many bytes.
    Bytes(u64),
    /// So many hundredths of what there is, 1 to 100.
    Percent(u8),
}

impl Size {
    /// Reads `auto`, `50%`, `1073741824`, `1GiB` or `512 MB`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no size, such as 4GiB, 512MiB, 50% or auto");
        let word = text.trim().to_ascii_lowercase().replace('_', "");
        if word == "auto" {
            return Ok(Self::Auto);
        }
        if let Some(percent) = word.strip_suffix('%') {
            let percent = percent.trim().parse::<u8>().map_err(|_| wrong())?;
            return if (1..=100).contains(&percent) { Ok(Self::Percent(percent)) } else { Err(wrong()) };
        }
        let digits = word.find(|c: char| !c.is_ascii_digit()).unwrap_or(word.len());
        let (number, unit) = word.split_at(digits);
        let number = number.parse::<u64>().map_err(|_| wrong())?;
        let (_, shift) = UNITS.iter().find(|(name, _)| *name == unit.trim()).ok_or_else(wrong)?;
        number.checked_mul(1 << shift).map(Self::Bytes).ok_or_else(|| format!("{text:?} is too large"))
    }

    /// As TOML.
    pub(crate) fn show(self) -> String {
        match self {
            Self::Auto => "\"auto\"".to_owned(),
            Self::Bytes(bytes) => bytes.to_string(),
            Self::Percent(percent) => format!("\"{percent}%\""),
        }
    }

    /// In bytes, where there are `whole` and `usual` of them are usual.
    pub(crate) fn bytes(self, whole: u64, usual: u64) -> u64 {
        match self {
            Self::Auto => usual,
            Self::Bytes(bytes) => bytes,
            Self::Percent(percent) => share(whole, u64::from(percent)),
        }
    }
}

/// So many hundredths.
pub(crate) fn share(whole: u64, percent: u64) -> u64 {
    whole / 100 * percent + whole % 100 * percent / 100
}

/// Bytes for people: `256 MiB`.
pub(crate) fn shown(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    match units.iter().find(|(shift, _)| bytes >= 1 << shift) {
        Some((shift, unit)) if bytes.trailing_zeros() >= *shift => format!("{} {unit}", bytes >> shift),
        Some((shift, unit)) => format!("{:.1} {unit}", bytes as f64 / (1_u64 << shift) as f64),
        None => format!("{bytes} bytes"),
    }
}

/// Bytes of memory that this process can have: the machine's, or what its control group leaves of them.
pub(crate) fn machine_memory() -> u64 {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let machine = memory_total(&read("/proc/meminfo")).unwrap_or(2 << 30);
    let group = group_limit(Path::new("/sys/fs/cgroup"), &read("/proc/self/cgroup"));
    group.map_or(machine, |group| machine.min(group))
}

fn memory_total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find(|line| line.starts_with("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

/// The least limit of the control groups that this process is in, of both versions; `groups` is `/proc/self/cgroup`.
fn group_limit(root: &Path, groups: &str) -> Option<u64> {
    let mut least = None;
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (top, file) = match controllers {
            "" => (root.to_owned(), "memory.max"),
            some if some.split(',').any(|name| name == "memory") => (root.join("memory"), "memory.limit_in_bytes"),
            _ => continue,
        };
        let own = top.join(path.trim_start_matches('/'));
        // Inside a container the path may be that of the host, which is not there: the top is the container's own.
        for folder in own.ancestors().take_while(|folder| folder.starts_with(&top)) {
            let limit = std::fs::read_to_string(folder.join(file)).ok().and_then(|text| text.trim().parse().ok());
            least = limit.map_or(least, |limit: u64| Some(least.map_or(limit, |least: u64| least.min(limit))));
        }
    }
    least
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units() {
        let read = |text: &str| Size::parse(text);
        assert_eq!(read("4GiB"), Ok(Size::Bytes(4 << 30)));
        assert_eq!(read(" 512 MB "), Ok(Size::Bytes(512 << 20)));
        assert_eq!(read("1_000"), Ok(Size::Bytes(1000)));
        assert_eq!(read("7b"), Ok(Size::Bytes(7)));
        assert_eq!(read("50%"), Ok(Size::Percent(50)));
        assert_eq!(read("Auto"), Ok(Size::Auto));
        for bad in ["", "GiB", "0%", "101%", "1.5GiB", "-1", "4 apples", "99999999999TiB"] {
            assert!(read(bad).is_err(), "{bad}");
        }
        for size in [Size::Auto, Size::Bytes(12_345), Size::Percent(7)] {
            assert_eq!(Size::parse(size.show().trim_matches('"')), Ok(size));
        }
    }

    #[test]
    fn bytes_are_shown_for_people() {
        assert_eq!(shown(256 << 20), "256 MiB");
        assert_eq!(shown((1 << 30) + (1 << 29)), "1.5 GiB");
        assert_eq!(shown(12), "12 bytes");
    }

    #[test]
    fn the_least_limit_of_the_control_groups_counts() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let inner = root.join("a/b");
        std::fs::create_dir_all(&inner).unwrap();
        std::fs::write(inner.join("memory.max"), "max\n").unwrap();
        assert_eq!(group_limit(root, "0::/a/b\n"), None);
        std::fs::write(root.join("a/memory.max"), "1000\n").unwrap();
        assert_eq!(group_limit(root, "0::/a/b\n"), Some(1000));
        std::fs::write(inner.join("memory.max"), "700\n").unwrap();
        assert_eq!(group_limit(root, "0::/a/b\n"), Some(700));
        std::fs::create_dir_all(root.join("memory/c")).unwrap();
        std::fs::write(root.join("memory/c/memory.limit_in_bytes"), "500\n").unwrap();
        assert_eq!(group_limit(root, "5:cpu,cpuacct:/c\n4:memory:/c\n"), Some(500));
        // A path of the host's: the top of the container counts.
        std::fs::write(root.join("memory.max"), "900\n").unwrap();
        assert_eq!(group_limit(root, "0::/docker/1234\n"), Some(900));
        assert_eq!(memory_total("MemTotal:       16 kB\nMemFree: 1 kB\n"), Some(16 << 10));
    }
}
