//! CPU time of a server: its process and, for PostgreSQL, the processes that it made.

/// Clock ticks in a second, as Linux counts CPU time for user space.
const TICKS_PER_SECOND: f64 = 100.0;

/// Seconds of CPU that the process and its living and waited-for children have used, in user and kernel mode.
pub(crate) fn seconds(pid: u32) -> f64 {
    let processes = std::fs::read_dir("/proc").expect("Linux has /proc").flatten();
    let own_and_children = processes.filter_map(|entry| {
        let of: u32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        // The name, in parentheses, may hold spaces.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let parent: u32 = fields.get(1)?.parse().ok()?;
        let ticks = |i: usize| fields.get(i).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
        // utime, stime, and those of children that have ended.
        (of == pid || parent == pid).then(|| ticks(11) + ticks(12) + ticks(13) + ticks(14))
    });
    own_and_children.sum::<f64>() / TICKS_PER_SECOND
}

/// Bytes of all files of a folder.
pub(crate) fn folder_bytes(folder: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => folder_bytes(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}
