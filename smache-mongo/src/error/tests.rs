use std::sync::Arc;

use mongodb::{
    bson::{self, doc},
    error::CommandError,
};
use smache_core::Retry;

use super::*;

fn command(code: i32) -> Driver {
    let reply = doc! { "code": code, "codeName": "Name", "errmsg": "message" };
    Driver::Command(bson::from_document::<CommandError>(reply).expect("the reply of a failed command"))
}

#[test]
fn every_known_error_has_its_kind_and_advice() {
    use ErrorKind::{HistoryLost, Permission, Timeout, TooLarge, Unavailable, WrongServer};
    let table: [(&[i32], ErrorKind, Retry); 7] = [
        (&[9, 136, 260, 280, 286, 10334, 40647, 40649], HistoryLost, Retry::Never),
        (&[13, 18, 391, 8000], Permission, Retry::Never),
        (&[24, 50, 64, 202, 262], Timeout, Retry::Transient),
        (&[112, 365, 11000, 14031], Unavailable, Retry::Transient),
        (&[17419, 17420], TooLarge, Retry::Never),
        (
            &[6, 7, 43, 63, 89, 91, 133, 134, 150, 175, 189, 211, 234, 237, 9001, 10107, 11600, 11602, 13435, 13436],
            Unavailable,
            Retry::Transient,
        ),
        (&[2, 59, 115, 40324, 40573, 999_999], WrongServer, Retry::Never),
    ];
    for (codes, kind, retry) in table {
        for code in codes {
            let error = classify(command(*code).into(), "testing");
            assert_eq!((error.kind(), error.retry()), (kind, retry), "code {code}");
        }
    }
}

#[tokio::test]
async fn a_step_never_says_that_a_history_is_lost() {
    for (code, kind) in [(9, ErrorKind::WrongServer), (10334, ErrorKind::TooLarge)] {
        let refused = async { Err::<(), _>(command(code).into()) };
        let error = timed(Duration::from_secs(1), "commit", "db/shop", refused).await.expect_err("refused");
        assert_eq!(error.kind(), kind);
        assert!(error.to_string().contains("commit") && error.to_string().contains("db/shop"), "{error}");
    }
}

#[test]
fn a_lost_connection_is_transient() {
    let cut = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    let error = classify(Driver::Io(Arc::new(cut)).into(), "testing");
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Unavailable, Retry::Transient));
}

#[test]
fn messages_say_what_was_done_and_the_fix_and_keep_the_cause_apart() {
    let error = classify(command(40573).into(), "opening the change stream of database `shop`");
    assert!(error.to_string().starts_with("opening the change stream of database `shop`: "), "{error}");
    assert!(error.to_string().contains("--replSet") && !error.to_string().contains("codeName"), "{error}");
    assert!(error.report().contains("codeName") || error.report().contains("message"), "{}", error.report());
}

#[tokio::test(start_paused = true)]
async fn an_operation_that_never_answers_ends_within_its_bound() {
    let never = std::future::pending::<mongodb::error::Result<()>>();
    let error = bounded(Duration::from_secs(10), ErrorKind::Unavailable, "loading", never).await.expect_err("a bound");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("10s"), "{error}");
}
