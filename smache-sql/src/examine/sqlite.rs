//! How a file of SQLite is kept.

use std::path::Path;

use smache_core::{Examination, Finding, Severity, support::limits::ALMOST_FULL};

/// File systems that are on another machine: their locks are not to be trusted, and SQLite has no shared memory there.
const REMOTE: [&str; 14] = [
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "9p",
    "afs",
    "ceph",
    "glusterfs",
    "lustre",
    "fuse.sshfs",
    "fuse.glusterfs",
    "fuse.ceph",
    "fuse.s3fs",
];

/// The settings of a file, as `doctor` reads them.
#[derive(Debug, Clone, Default)]
pub(crate) struct File {
    /// `wal`, as a rule.
    pub(crate) journal: String,
    /// 0 off, 1 normal, 2 full, 3 extra.
    pub(crate) synchronous: i64,
    /// Pages that are used, and how many there may be if they are bounded.
    pub(crate) used: Option<(i64, i64)>,
    /// The kind of the file system, where it can be seen.
    pub(crate) file_system: Option<String>,
}

impl File {
    pub(crate) fn judge(&self, examination: Examination) -> Examination {
        let system = self.file_system.as_deref().unwrap_or_default();
        let share = self.used.map_or(0.0, |(used, most)| used as f64 / most.max(1) as f64);
        examination
            .finding(REMOTE.contains(&system), || {
                let problem =
                    format!("the file is on a network file system (`{system}`), which does not lock reliably");
                Finding::new(Severity::Danger, problem, "move it to a disk of this machine, or use PostgreSQL")
            })
            .finding(self.synchronous == 0, || {
                let problem = "commits do not wait for the disk: a power cut may damage the file";
                Finding::new(Severity::Danger, problem, "set `synchronous` to `FULL`")
            })
            .finding(self.journal != "wal", || {
                let problem =
                    format!("the journal is `{}` and not a log: readers and writers wait for each other", self.journal);
                Finding::new(
                    Severity::Warning,
                    problem,
                    "put the file where SQLite can share memory, and set `journal_mode = WAL`",
                )
            })
            .finding(share >= ALMOST_FULL, || {
                let problem =
                    format!("{:.0} % of `max_bytes` are used; when it is full, steps are refused", share * 100.0);
                Finding::new(Severity::Warning, problem, "raise `max_bytes`, or give results a `ttl`")
            })
            .finding(matches!(system, "tmpfs" | "ramfs"), || {
                let problem = "the file is in memory: what is stored does not survive a restart of the machine";
                Finding::new(Severity::Advice, problem, "move it to a disk, unless that is what you want")
            })
            .finding(self.synchronous == 1, || {
                let problem = "a power cut may take back the last commits, which others may have seen";
                Finding::new(Severity::Advice, problem, "set `synchronous` to `FULL`")
            })
    }
}

/// The kind of the file system that a file is on.
pub(crate) fn file_system(path: &Path) -> Option<String> {
    // Only Linux has it.
    let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
    kind_of(&mounts, &path.canonicalize().ok()?)
}

fn kind_of(mounts: &str, path: &Path) -> Option<String> {
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        // Spaces and the like are written as octal numbers.
        let place = words.next()?.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\");
        path.starts_with(&place).then_some((place.len(), words.next()?))
    });
    // Of several on one place the last one is on top.
    mounts.max_by_key(|(length, _)| *length).map(|(_, kind)| kind.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> File {
        File { journal: "wal".into(), synchronous: 2, used: Some((10, 100)), file_system: Some("ext4".into()) }
    }

    #[test]
    fn whatever_is_unsafe_is_found_with_its_fix() {
        assert_eq!(good().judge(Examination::new("a file")).findings, []);
        let on = |system: &str| File { file_system: Some(system.to_owned()), ..good() };
        let table = [
            (on("nfs4"), Severity::Danger, "disk of this machine"),
            (on("tmpfs"), Severity::Advice, "disk"),
            (File { journal: "delete".into(), ..good() }, Severity::Warning, "WAL"),
            (File { synchronous: 0, ..good() }, Severity::Danger, "FULL"),
            (File { synchronous: 1, ..good() }, Severity::Advice, "FULL"),
            (File { used: Some((80, 100)), ..good() }, Severity::Warning, "max_bytes"),
        ];
        for (file, severity, fix) in table {
            let examination = file.judge(Examination::new("a file"));
            let [finding] = &examination.findings[..] else { panic!("{file:?}: {examination:?}") };
            assert_eq!(finding.severity, severity, "{finding:?}");
            assert!(finding.fix.contains(fix), "{finding:?}");
        }
    }

    #[test]
    fn a_file_is_on_the_innermost_mount() {
        let mounts = "overlay / overlay rw 0 0\nproc /proc proc rw 0 0\nserver:/x /srv nfs4 rw 0 0\n\
                      tmpfs /srv/my\\040cache tmpfs rw 0 0\n/dev/sda1 /srv ext4 rw 0 0\n";
        let kind = |path: &str| kind_of(mounts, Path::new(path));
        assert_eq!(kind("/var/cache.db").as_deref(), Some("overlay"));
        assert_eq!(kind("/srv/cache.db").as_deref(), Some("ext4"));
        assert_eq!(kind("/srv/my cache/cache.db").as_deref(), Some("tmpfs"));
        assert_eq!(kind("/srvx/cache.db").as_deref(), Some("overlay"));
        assert_eq!(kind_of("", Path::new("/x")), None);
    }
}
