//! Which calls are one entry, and which are not.

use std::collections::{BTreeMap, HashMap, HashSet};

use smache::{ErrorKind, Result, State, backend::FunctionKey, computed, memory::Memory};

use crate::{
    probe::{Probe, Refused},
    world::World,
};

#[computed]
async fn pair(left: String, right: String) -> String {
    format!("{left}|{right}")
}

#[computed]
async fn listed(parts: Vec<String>) -> usize {
    parts.len()
}

#[computed]
async fn total(of: HashMap<String, u32>, probe: State<Probe>) -> Result<u32, Refused> {
    probe.pass("total").await?;
    Ok(of.values().sum())
}

#[computed]
async fn root(of: f64) -> f64 {
    of.sqrt()
}

#[computed]
async fn mean(of: Vec<(f64, Option<f32>)>) -> f64 {
    of.iter().map(|(value, _)| value).sum::<f64>() / of.len() as f64
}

#[computed]
async fn raw(n: u64) -> u64 {
    n
}

#[computed]
async fn also_raw(n: u64) -> u64 {
    n
}

#[computed]
async fn wide(n: u64, _width: u32) -> u64 {
    n
}

#[tokio::test(start_paused = true)]
async fn no_separator_makes_two_calls_one() -> Result<()> {
    let smache = World::memory().builder().register::<pair>().register::<listed>().build().await?;
    let parts = [
        "", "a", "b", "a/b", "/", "~", "~~~", ":", "a:b", "::", "\0", "a\0b", "\0\0", ",", "a,b", "\"", "|", "ä",
        "a\u{308}",
    ];
    let mut keys = HashSet::new();
    for left in parts {
        for right in parts {
            assert!(keys.insert(smache.inspect().entry_id(&pair(left.into(), right.into()))?), "{left:?} {right:?}");
            let both = vec![left.to_owned(), right.to_owned()];
            assert!(keys.insert(smache.inspect().entry_id(&listed(both))?), "[{left:?}, {right:?}]");
        }
        assert!(keys.insert(smache.inspect().entry_id(&listed(vec![left.to_owned()]))?), "[{left:?}]");
    }
    assert_eq!(*smache.get(pair("a/b".into(), "c".into())).await?, "a/b|c");
    assert_eq!(*smache.get(pair("a".into(), "b/c".into())).await?, "a|b/c");
    assert_eq!(*smache.get(pair("a\0".into(), "b".into())).await?, "a\0|b");
    assert_eq!(*smache.get(pair("a".into(), "\0b".into())).await?, "a|\0b");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn equal_arguments_of_different_functions_are_different_entries() -> Result<()> {
    let smache = World::memory().builder().register::<raw>().register::<also_raw>().register::<wide>().build().await?;
    let keys = [
        smache.inspect().entry_id(&raw(7))?,
        smache.inspect().entry_id(&also_raw(7))?,
        smache.inspect().entry_id(&wide(7, 0))?,
        smache.inspect().entry_id(&wide(0, 7))?,
    ];
    assert_eq!(HashSet::from(keys).len(), 4);
    assert_eq!(keys[0].function(), FunctionKey::of::<raw>());
    smache.get(raw(7)).await?;
    assert!(smache.peek(also_raw(7)).await?.is_none());
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn keys_are_the_same_in_every_process() -> Result<()> {
    let one = World::memory();
    let two = World::memory();
    let one = one.builder().register::<pair>().build().await?;
    let two = two.builder().register::<pair>().build().await?;
    let call = || pair("left".to_owned(), "right".to_owned());
    assert_eq!(one.inspect().entry_id(&call())?, two.inspect().entry_id(&call())?);
    assert_eq!(
        one.inspect().entry_id(&call())?,
        one.inspect().entry_id(&call().fresh())?,
        "how fresh a reader wants it is not part of it"
    );
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn maps_of_equal_content_are_one_entry_in_any_order() -> Result<()> {
    let world = World::memory();
    let smache = world.builder().register::<total>().build().await?;
    let forward: Vec<(String, u32)> = (0..200).map(|n| (format!("key {n}"), n)).collect();
    let mut keys = HashSet::new();
    for rotation in 0..20 {
        // Every map hashes with different keys: its order differs even for equal insertions.
        let mut rotated = forward.clone();
        rotated.rotate_left(rotation * 7);
        let map: HashMap<String, u32> = rotated.into_iter().collect();
        keys.insert(smache.inspect().entry_id(&total(map.clone()))?);
        assert_eq!(*smache.get(total(map)).await?, 19_900);
    }
    assert_eq!((keys.len(), world.probe.runs()), (1, 1));
    let mut other: HashMap<String, u32> = forward.into_iter().collect();
    other.insert("key 7".to_owned(), 8);
    assert_eq!(*smache.get(total(other)).await?, 19_901);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn not_a_number_is_refused_as_an_argument_with_the_reason() -> Result<()> {
    let smache = World::memory().builder().register::<root>().register::<mean>().build().await?;
    let errors = [
        smache.get(root(f64::NAN)).await.map(drop),
        smache.peek(root(-f64::NAN)).await.map(drop),
        smache.get(mean(vec![(1.0, None), (2.0, Some(f32::NAN))])).await.map(drop),
        smache.invalidate(root(f64::NAN)).await.map(drop),
        smache.inspect().entry_id(&root(f64::NAN)).map(drop),
    ];
    for error in errors {
        let error = error.expect_err("not a number");
        assert_eq!(error.kind(), ErrorKind::Argument);
        assert!(error.to_string().contains("equals nothing"), "{error}");
        assert!(error.to_string().contains("`root`") || error.to_string().contains("`mean`"), "{error}");
    }
    assert_eq!(*smache.get(root(f64::INFINITY)).await?, f64::INFINITY);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn zeros_of_both_signs_are_equal_and_so_one_entry() -> Result<()> {
    #[computed]
    async fn reciprocal(of: f64) -> f64 {
        1.0 / of
    }
    let smache = World::memory().builder().register::<reciprocal>().build().await?;
    assert_eq!(smache.inspect().entry_id(&reciprocal(0.0))?, smache.inspect().entry_id(&reciprocal(-0.0))?);
    assert_eq!(*smache.get(reciprocal(-0.0)).await?, f64::INFINITY, "either zero is computed as the same one");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_argument_that_is_too_long_is_refused_with_the_fix() -> Result<()> {
    let smache = World::memory().builder().register::<listed>().max_argument_bytes(1_000).build().await?;
    assert_eq!(*smache.get(listed(vec!["x".repeat(900)])).await?, 1);
    let error = smache.get(listed(vec!["x".repeat(1_000)])).await.expect_err("too long");
    assert_eq!(error.kind(), ErrorKind::Argument);
    for part in ["listed", "max_argument_bytes", "id"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    assert_eq!(smache.inspect().stats().await?.store.entries, 1);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_argument_that_is_too_deep_is_refused() -> Result<()> {
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Chain(Option<Box<Chain>>);

    #[computed]
    async fn links(of: Chain) -> usize {
        std::iter::successors(of.0.as_deref(), |link| link.0.as_deref()).count()
    }

    let chain = |links| (0..links).fold(Chain(None), |chain, _| Chain(Some(Box::new(chain))));
    let smache = World::memory().builder().register::<links>().build().await?;
    assert_eq!(*smache.get(links(chain(50))).await?, 50);
    let error = smache.get(links(chain(10_000))).await.expect_err("too deep");
    assert_eq!(error.kind(), ErrorKind::Argument);
    assert!(error.to_string().contains("`links`"), "{error}");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_argument_that_does_not_survive_serialization_is_refused() -> Result<()> {
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Forgetful {
        #[serde(skip_deserializing)]
        forgotten: u8,
        kept: u8,
    }

    #[computed]
    async fn recall(of: Forgetful) -> u8 {
        of.forgotten + of.kept
    }

    let smache = World::memory().builder().register::<recall>().build().await?;
    let error = smache.get(recall(Forgetful { forgotten: 1, kept: 2 })).await.expect_err("it forgets");
    assert_eq!(error.kind(), ErrorKind::Argument);
    assert!(error.to_string().contains("recall") && error.to_string().contains("survive"), "{error}");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn namespaces_of_one_backend_do_not_see_each_other() -> Result<()> {
    let memory = Memory::new();
    let probe = Probe::default();
    let mut systems = Vec::new();
    for namespace in ["shop", "shop:eu", "sho", "SHOP"] {
        let builder = smache::Smache::builder(namespace).backend(memory.clone()).state(probe.clone());
        systems.push(builder.register::<total>().build().await?);
    }
    let call = || total(HashMap::from([("a".to_owned(), 1)]));
    for (index, smache) in systems.iter().enumerate() {
        assert!(smache.peek(call()).await?.is_none());
        smache.get(call()).await?;
        assert_eq!(probe.runs(), index + 1);
    }
    systems[0].invalidate(call()).await?;
    let fresh: Vec<bool> = futures_of(&systems, async |smache| smache.is_fresh(call()).await).await?;
    assert_eq!(fresh, [false, true, true, true]);
    systems[1].invalidate_all().await?;
    let fresh = futures_of(&systems, async |smache| smache.is_fresh(call()).await).await?;
    assert_eq!(fresh, [false, false, true, true]);
    Ok(())
}

async fn futures_of<T>(systems: &[smache::Smache], ask: impl AsyncFn(&smache::Smache) -> Result<T>) -> Result<Vec<T>> {
    let mut answers = Vec::new();
    for smache in systems {
        answers.push(ask(smache).await?);
    }
    Ok(answers)
}

#[tokio::test(start_paused = true)]
async fn entries_of_sorted_and_hashed_maps_are_of_different_declarations() -> Result<()> {
    #[computed(id = "sum")]
    async fn sorted(of: BTreeMap<String, u32>) -> u32 {
        of.values().sum()
    }
    #[computed(id = "sum")]
    async fn hashed(of: HashMap<String, u32>) -> u32 {
        of.values().sum()
    }
    assert_ne!(FunctionKey::of::<sorted>(), FunctionKey::of::<hashed>());
    Ok(())
}
