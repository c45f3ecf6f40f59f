//! A history that does not tell an insertion from an update.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use smache::{
    ChangeKind, Cx, Entity, Result, Smache, State,
    backend::{Batch, Capability, ChangeStream, DataSource, Snapshot},
    computed,
    memory::{Memory, MemorySource},
};
use smache_testkit::layer::{Layered, SourceLayer};

#[derive(Clone, Debug, Serialize, Deserialize, Entity)]
#[entity(source = "parcels")]
struct Parcel {
    #[entity(id)]
    id: u64,
    #[entity(index)]
    place: String,
    #[entity(field)]
    grams: u64,
}

/// A log of the last values: it tells the entity after the change, and some of the fields that changed.
#[derive(Debug)]
struct Log(MemorySource<Parcel>);

#[async_trait]
impl SourceLayer for Log {
    fn inner(&self) -> &dyn DataSource {
        &self.0
    }

    fn capabilities(&self) -> &[Capability] {
        &[Capability::List, Capability::Find]
    }

    async fn next(&self, stream: &mut dyn ChangeStream) -> Result<Batch> {
        let mut batch = stream.next().await?;
        for change in &mut batch.changes {
            change.before = Snapshot::Unknown;
            if change.kind != ChangeKind::Delete {
                change.kind = ChangeKind::Put;
                change.fields = Some(vec!["place".to_owned()]);
            }
        }
        Ok(batch)
    }
}

type Ran = Arc<Mutex<Vec<String>>>;

fn ran(log: &Ran, what: String) {
    log.lock().expect("no panic under it").push(what);
}

#[computed]
async fn waiting(cx: &Cx, log: State<Ran>, place: String) -> Result<usize> {
    ran(&log, format!("waiting({place})"));
    Ok(cx.find(Parcel::PLACE.eq(place)).await?.len())
}

#[computed]
async fn grams(cx: &Cx, log: State<Ran>, id: u64) -> Result<Option<u64>> {
    ran(&log, format!("grams({id})"));
    Ok(cx.load_fields(&id, Parcel::GRAMS).await?.map(|parcel| parcel.grams))
}

#[tokio::test]
async fn put_affects_what_an_insertion_and_an_update_affect() -> Result<()> {
    let parcels = MemorySource::<Parcel>::new();
    let log = Ran::default();
    let smache = Smache::builder("post")
        .backend(Memory::new())
        .source(Layered::new(Log(parcels.clone())))
        .state(Arc::clone(&log))
        .register::<waiting>()
        .register::<grams>()
        .build()
        .await?;
    let parcel = |id, place: &str| Parcel { id, place: place.to_owned(), grams: 100 };
    parcels.insert(parcel(1, "Bern"))?;
    for place in ["Bern", "Basel"] {
        smache.get(waiting(place.to_owned())).await?;
    }
    for id in [1, 2] {
        smache.get(grams(id)).await?;
    }
    let ran = async || -> Result<String> {
        smache.run_until_idle().await?;
        let mut ran = std::mem::take(&mut *log.lock().expect("no panic under it"));
        ran.sort();
        ran.dedup();
        Ok(ran.join(" "))
    };
    ran().await?;

    parcels.update(&1, |parcel| parcel.place = "Basel".to_owned())?;
    assert_eq!(ran().await?, "grams(1) waiting(Basel) waiting(Bern)", "also the place that it left, and any field");
    assert_eq!(*smache.get(waiting("Bern".to_owned())).await?, 0);
    parcels.insert(parcel(2, "Basel"))?;
    assert_eq!(ran().await?, "grams(2) waiting(Basel)", "a parcel that was read while it was absent");
    assert_eq!(*smache.get(grams(2)).await?, Some(100));

    parcels.update(&2, |parcel| parcel.grams = 200)?;
    let why = loop {
        let why = smache.inspect().why(grams(2)).await?;
        match why.causes.is_empty() {
            true => tokio::time::sleep(std::time::Duration::from_millis(2)).await,
            false => break why,
        }
    };
    assert_eq!((why.causes[0].kind, why.causes[0].text.as_str()), (Some(ChangeKind::Put), "parcels 2 put"));
    Ok(())
}
