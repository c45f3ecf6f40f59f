//! The types that a computed function may return; the store gives back equal values.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_bytes::ByteBuf;
use smache::{Call, Codec, Computed, Cx, Declaration, ErrorKind, Failure, Result, Smache, State, computed};

use crate::{
    functions::Any,
    probe::{Probe, Refused},
    world::World,
};

type AppResult<T> = std::result::Result<T, Refused>;
type CountResult = std::result::Result<u32, Refused>;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Verdict {
    Unknown,
    Score(f64),
    Parts { left: Box<Verdict>, right: Option<Box<Verdict>> },
}

macro_rules! constants {
    ($($name:ident: $ty:ty = $value:expr;)+) => {
        $(
            #[computed]
            async fn $name(probe: State<Probe>) -> $ty {
                probe.pass(stringify!($name)).await.expect("the test lets it succeed");
                $value
            }
        )+

        /// Every one of them: computed once, then read from the store, equal both times.
        #[tokio::test]
        async fn every_value_comes_back_from_the_store_as_it_was() -> Result<()> {
            for codec in [Codec::Json, Codec::MessagePack] {
                let world = World::memory();
                let smache = world.builder().codec(codec)$(.register::<$name>())+.build().await?;
                $(comes_back(&smache, &world.probe, || $name(), &$value).await?;)+
            }
            Ok(())
        }
    };
}

constants! {
    unit: () = ();
    zero: i64 = 0;
    no: bool = false;
    empty_text: String = String::new();
    empty_list: Vec<u8> = Vec::new();
    none: Option<String> = None;
    some_empty: Option<String> = Some(String::new());
    some_none: Option<Option<u8>> = Some(None);
    some_unit: Option<()> = Some(());
    list_of_options: Vec<Option<Option<i8>>> = vec![None, Some(None), Some(Some(-1))];
    huge: u128 = u128::MAX;
    tiny: i128 = i128::MIN;
    infinite: f64 = f64::NEG_INFINITY;
    minus_zero: f64 = -0.0;
    precise: f64 = 0.1 + 0.2;
    single: f32 = 0.1;
    letter: char = '🦀';
    binary: ByteBuf = ByteBuf::from((0..=255).collect::<Vec<u8>>());
    binary_list: Vec<u8> = (0..=255).collect();
    nul: String = "\0\u{1}\u{7f}\u{2028}".to_owned();
    numbered: BTreeMap<i64, String> = BTreeMap::from([(-1, "a".to_owned()), (2, "b".to_owned())]);
    by_pair: BTreeMap<(u8, Option<u8>), u8> = BTreeMap::from([((1, None), 1), ((1, Some(0)), 2)]);
    by_bytes: HashMap<Vec<u8>, u8> = HashMap::from([(vec![0], 1), (vec![], 2)]);
    by_flag: HashMap<bool, Vec<()>> = HashMap::from([(true, vec![()]), (false, vec![])]);
    verdict: Verdict = Verdict::Parts { left: Box::new(Verdict::Unknown), right: Some(Box::new(Verdict::Score(0.5))) };
    tuple: (u8, (), [i16; 2], Option<(String,)>) = (1, (), [2, -2], Some(("x".to_owned(),)));
    results: Vec<std::result::Result<u8, String>> = vec![Err("not yet".to_owned()), Ok(1)];
}

async fn comes_back<F>(smache: &Smache, probe: &Probe, call: impl Fn() -> Call<F>, value: &F::Output) -> Result<()>
where
    F: Computed<Output: PartialEq + std::fmt::Debug>,
{
    let before = probe.runs();
    for read in ["computed", "stored", "stored again"] {
        assert_eq!(&*smache.get(call()).await?, value, "{read}");
    }
    assert_eq!(probe.runs(), before + 1, "{value:?} is a hit");
    assert!(smache.peek(call()).await?.is_some_and(|found| &*found == value && found.is_fresh()));
    Ok(())
}

#[computed]
async fn hashed_set() -> HashSet<u64> {
    (0..100).collect()
}

/// Its order is random, and serde writes it as a list: no reason not to store it.
#[tokio::test(start_paused = true)]
async fn a_hashed_set_is_a_result_that_is_stored() -> Result<()> {
    let smache = World::memory().builder().register::<hashed_set>().build().await?;
    for _ in 0..2 {
        assert_eq!(*smache.get(hashed_set()).await?, (0..100).collect());
    }
    assert_eq!(smache.inspect().stats().await?.process.runs, 1);
    Ok(())
}

#[computed]
async fn not_a_number() -> Vec<f64> {
    vec![f64::NAN, 1.0]
}

#[tokio::test(start_paused = true)]
async fn not_a_number_is_a_result_that_is_stored() -> Result<()> {
    let smache = World::memory().builder().register::<not_a_number>().build().await?;
    for _ in 0..2 {
        let values = smache.get(not_a_number()).await?;
        assert!(values[0].is_nan() && values[1] == 1.0, "{values:?}");
    }
    assert_eq!(smache.inspect().stats().await?.process.runs, 1);
    Ok(())
}

#[computed]
async fn aliased(n: u32, probe: State<Probe>) -> AppResult<u32> {
    probe.pass(format!("aliased {n}")).await?;
    if n == 13 { Err(Refused("thirteen".to_owned())) } else { Ok(n + 1) }
}

#[computed]
async fn aliased_without_arguments() -> CountResult {
    Ok(3)
}

#[computed]
async fn boxed(text: String) -> Result<u32, Any> {
    Ok(text.parse()?)
}

#[tokio::test(start_paused = true)]
async fn aliases_of_result_are_seen_through() -> Result<()> {
    let world = World::memory();
    let builder = world.builder().register::<aliased>().register::<aliased_without_arguments>().register::<boxed>();
    let smache = builder.build().await?;
    assert_eq!(*smache.get(aliased(1)).await?, 2);
    assert_eq!(*smache.get(aliased_without_arguments()).await?, 3);
    assert_eq!(*smache.get(boxed("7".to_owned())).await?, 7);
    let error = smache.get(boxed("seven".to_owned())).await.expect_err("not a number");
    assert_eq!(error.kind(), ErrorKind::Function);
    assert!(error.function_error::<std::num::ParseIntError>().is_some(), "{error:?}");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn the_functions_own_error_comes_back_typed_and_is_not_stored() -> Result<()> {
    let world = World::memory();
    let smache = world.builder().register::<aliased>().build().await?;
    for run in 1..=2 {
        let error = smache.get(aliased(13)).await.expect_err("an unlucky number");
        assert_eq!(error.kind(), ErrorKind::Function);
        assert_eq!(error.function_error::<Refused>(), Some(&Refused("thirteen".to_owned())));
        assert!(error.function_error::<std::io::Error>().is_none());
        assert_eq!(
            error.report(),
            "the computed function `aliased` failed (function: aliased): no greeting for thirteen"
        );
        assert_eq!(world.probe.runs(), run);
    }
    assert_eq!(smache.peek(aliased(13)).await?.map(|found| *found), None);
    assert_eq!(smache.inspect().stats().await?.store.entries, 0);
    Ok(())
}

/// By hand, as a generic function, which the macro does not write.
struct Repeated<T>(std::marker::PhantomData<fn() -> T>);

impl<T> Computed for Repeated<T>
where
    T: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
{
    type Args = (T, usize);
    type Output = Vec<T>;

    fn declaration() -> Declaration {
        Declaration::new(match std::any::type_name::<T>() {
            "u8" => "repeated.u8",
            _ => "repeated.text",
        })
    }

    async fn compute(cx: &Cx, (value, times): Self::Args) -> Result<Vec<T>, Failure> {
        cx.state::<Probe>()?.pass("repeated").await?;
        if times > 100 {
            return Err(std::io::Error::other("too often").into());
        }
        Ok(vec![value; times])
    }
}

#[tokio::test(start_paused = true)]
async fn a_function_is_written_by_hand() -> Result<()> {
    let world = World::memory();
    let smache = world.builder().register::<Repeated<u8>>().register::<Repeated<String>>().build().await?;
    for _ in 0..2 {
        assert_eq!(*smache.get(Call::<Repeated<u8>>::new((7, 2))).await?, [7, 7]);
        assert_eq!(*smache.get(Call::<Repeated<String>>::new(("x".to_owned(), 1))).await?, ["x"]);
    }
    assert_eq!(world.probe.runs(), 2);
    let error = smache.get(Call::<Repeated<u8>>::new((7, 101))).await.expect_err("refused");
    assert!(error.function_error::<std::io::Error>().is_some(), "{error:?}");
    Ok(())
}
