//! The command line.

use std::time::Duration;

use crate::{faults::Fault, servers::Kind};

pub(crate) const HELP: &str = "\
Readers, writers, workers and faults as separate processes, and a checker of every answer.

  history --backend KIND | --store URL  [OPTIONS]

  --backend KIND    memory, kv, sqlite, redis, postgres or mongo: on a private server or file
  --store URL       a store that is there already: redis://, postgres://, mongodb://, sqlite:FILE, log:FILE;
                    no fault concerns it, and the namespace of the run stays there
  --data KIND       where the data are: sqlite, redis, postgres or mongo; the kind of the store by default,
                    sqlite for memory and kv
  --seconds N       how long changes and faults go on; 60 by default
  --seed N          chooses the faults, the changes and the reads; 1 by default
  --faults LIST     all (the default), none, or names with commas; a wrong name lists the possible ones;
                    all,-kill-data leaves one out
  --readers N       how many sequences of reads each reading process has; 6 by default
  --pause MS        the average pause of each of the six writers; 150 by default
  --pace MS         the longest pause within a function; 3 by default
  --settle N        how many seconds everything may take to become fresh in the end; 120 by default
  --verbose         shows each fault
  --lies            readers call stale answers fresh: the checker must find it

The last line has the figures. The exit code is 1 after a violation, and 2 if the run itself failed.
";

/// What a run is to be.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) store: Kind,
    pub(crate) url: Option<String>,
    pub(crate) data: Kind,
    pub(crate) time: Duration,
    pub(crate) seed: u64,
    pub(crate) faults: Vec<Fault>,
    pub(crate) readers: u64,
    pub(crate) pause: u64,
    pub(crate) pace: u64,
    pub(crate) settle: Duration,
    pub(crate) verbose: bool,
    pub(crate) lies: bool,
}

impl Options {
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let (mut store, mut url, mut data) = (None, None, None);
        let mut numbers = [60, 1, 6, 150, 3, 120];
        let (mut faults, mut verbose, mut lies) = ("all".to_owned(), false, false);
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("`{word}` needs a value"));
            let number = ["--seconds", "--seed", "--readers", "--pause", "--pace", "--settle"];
            if let Some(at) = number.iter().position(|name| *name == word) {
                let value = value()?;
                numbers[at] = value.parse::<u64>().map_err(|_| format!("`{value}` is no number for `{word}`"))?;
                continue;
            }
            match word.as_str() {
                "--backend" => store = Some(kind(&value()?)?),
                "--store" => {
                    let given = value()?;
                    store = Some(of_url(&given)?);
                    url = Some(given);
                }
                "--data" => data = Some(kind(&value()?)?),
                "--faults" => faults = value()?,
                "--verbose" => verbose = true,
                "--lies" => lies = true,
                _ => return Err(format!("unknown argument `{word}`")),
            }
        }
        let store = store.ok_or("name a backend with --backend or --store")?;
        let data = data.unwrap_or(store.data());
        if data.is_of_one_process() {
            return Err(format!(
                "there are no data of the kind `{}`: use sqlite, redis, postgres or mongo",
                data.name()
            ));
        }
        let [seconds, seed, readers, pause, pace, settle] = numbers;
        let faults = Fault::parse(&faults, &Fault::possible(store, url.is_none(), data))?;
        let (time, settle) = (Duration::from_secs(seconds), Duration::from_secs(settle));
        Ok(Self { store, url, data, time, seed, faults, readers, pause, pace, settle, verbose, lies })
    }
}

fn kind(name: &str) -> Result<Kind, String> {
    let known = Kind::ALL.iter().find(|(known, _)| *known == name);
    known
        .map(|(_, kind)| *kind)
        .ok_or_else(|| format!("`{name}` is no kind of backend: use memory, kv, sqlite, redis, postgres or mongo"))
}

fn of_url(url: &str) -> Result<Kind, String> {
    match url.split(':').next().unwrap_or_default() {
        "memory" => Ok(Kind::Memory),
        "log" => Ok(Kind::Kv),
        "sqlite" => Ok(Kind::Sqlite),
        "redis" | "rediss" | "unix" => Ok(Kind::Redis),
        "postgres" | "postgresql" => Ok(Kind::Postgres),
        "mongodb" | "mongodb+srv" => Ok(Kind::Mongo),
        _ => Err("--store needs a URL of redis, postgres, mongodb, sqlite or log".to_owned()),
    }
}
