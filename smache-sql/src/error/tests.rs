use std::io;

use super::*;

#[test]
fn each_code_of_postgres_has_its_kind() {
    let table = [
        ("40001", ErrorKind::Unavailable),
        ("40P01", ErrorKind::Unavailable),
        ("57014", ErrorKind::Timeout),
        ("55P03", ErrorKind::Timeout),
        ("57P01", ErrorKind::Unavailable),
        ("57P03", ErrorKind::Unavailable),
        ("53300", ErrorKind::Unavailable),
        ("53100", ErrorKind::Unavailable),
        ("53400", ErrorKind::Unavailable),
        ("08006", ErrorKind::Unavailable),
        ("58030", ErrorKind::Unavailable),
        ("25006", ErrorKind::WrongServer),
        ("28P01", ErrorKind::Permission),
        ("28000", ErrorKind::Permission),
        ("42501", ErrorKind::Permission),
        ("3D000", ErrorKind::WrongServer),
        ("3F000", ErrorKind::WrongServer),
        ("42P01", ErrorKind::WrongServer),
        ("42883", ErrorKind::WrongServer),
        ("26000", ErrorKind::WrongServer),
        ("55000", ErrorKind::WrongServer),
        ("SM001", ErrorKind::WrongServer),
        ("XX001", ErrorKind::Corrupt),
        ("22P02", ErrorKind::Internal),
        ("", ErrorKind::Internal),
    ];
    for (code, kind) in table {
        let (got, message) = sqlstate(code, Tables::Own);
        assert_eq!(got, kind, "{code}");
        let transient = matches!(kind, ErrorKind::Unavailable | ErrorKind::Timeout);
        assert_eq!(Error::new(got, message).is_transient(), transient, "{code}");
    }
}

#[test]
fn a_lost_connection_says_what_to_do() {
    for (kind, message) in [sqlstate("08006", Tables::Own), io_error(io::ErrorKind::ConnectionReset)] {
        assert_eq!(kind, ErrorKind::Unavailable);
        assert!(message.contains("lost: try again") && message.contains("log"), "{message}");
    }
}

#[test]
fn each_code_of_sqlite_has_its_kind() {
    let table = [
        (5, ErrorKind::Timeout),
        (6, ErrorKind::Timeout),
        (517, ErrorKind::Timeout),
        (261, ErrorKind::Timeout),
        (13, ErrorKind::Unavailable),
        (8, ErrorKind::WrongServer),
        (1032, ErrorKind::WrongServer),
        (14, ErrorKind::Unavailable),
        (266, ErrorKind::Unavailable),
        (11, ErrorKind::Corrupt),
        (779, ErrorKind::Corrupt),
        (26, ErrorKind::WrongServer),
        (23, ErrorKind::Permission),
        (1, ErrorKind::WrongServer),
        (19, ErrorKind::Internal),
        (0, ErrorKind::Internal),
    ];
    for (code, kind) in table {
        assert_eq!(sqlite_code(code, Tables::Own).0, kind, "{code}");
    }
}

/// A missing table counts as a mistake in the application's configuration; all else is as for the tables of the store.
#[test]
fn a_table_of_the_application_that_is_not_there_is_a_mistake_in_its_configuration() {
    for code in ["42P01", "42703", "42704", "42883", "3F000"] {
        let (kind, message) = sqlstate(code, Tables::Source);
        assert_eq!(kind, ErrorKind::Config, "{code}");
        assert!(message.contains("install"), "{message}");
    }
    assert_eq!(sqlite_code(1, Tables::Source).0, ErrorKind::Config);
    for code in ["08006", "57P01", "57014", "55P03", "28P01", "42501", "25006", "3D000", "42601", "XX001"] {
        assert_eq!(sqlstate(code, Tables::Source).0, sqlstate(code, Tables::Own).0, "{code}");
    }
    for code in [5, 517, 8, 10, 13, 14, 11, 26, 23, 19] {
        assert_eq!(sqlite_code(code, Tables::Source), sqlite_code(code, Tables::Own), "{code}");
    }
}

#[test]
fn each_failure_of_a_connection_has_its_kind() {
    let table = [
        (io::ErrorKind::TimedOut, ErrorKind::Timeout),
        (io::ErrorKind::ConnectionRefused, ErrorKind::Unavailable),
        (io::ErrorKind::NotFound, ErrorKind::Unavailable),
        (io::ErrorKind::ConnectionReset, ErrorKind::Unavailable),
        (io::ErrorKind::BrokenPipe, ErrorKind::Unavailable),
        (io::ErrorKind::UnexpectedEof, ErrorKind::Unavailable),
        (io::ErrorKind::PermissionDenied, ErrorKind::Permission),
    ];
    for (cause, kind) in table {
        let error = sqlx::Error::Io(io::Error::from(cause));
        #[cfg(feature = "postgres")]
        assert!(ends_connection(&error), "{cause}");
        assert_eq!(failed(error, "db").kind(), kind, "{cause}");
    }
    assert_eq!(classify(&sqlx::Error::PoolTimedOut, Tables::Own).0, ErrorKind::Timeout);
    assert_eq!(classify(&sqlx::Error::Protocol("x".to_owned()), Tables::Own).0, ErrorKind::Unavailable);
    assert_eq!(classify(&sqlx::Error::ColumnNotFound("x".to_owned()), Tables::Own).0, ErrorKind::Corrupt);
    assert_eq!(classify(&sqlx::Error::RowNotFound, Tables::Own).0, ErrorKind::Internal);
}

/// A balancer that accepts and closes, and a pool that all wait for.
#[test]
fn what_passes_by_itself_is_an_outage_and_the_rest_is_not() {
    let cut = || sqlx::Error::Tls(Box::new(io::Error::from(io::ErrorKind::UnexpectedEof)));
    assert_eq!(classify(&cut(), Tables::Source).0, ErrorKind::Unavailable);
    assert!(is_outage(&cut()) && is_outage(&sqlx::Error::PoolTimedOut));
    assert!(!is_outage(&sqlx::Error::RowNotFound) && !is_outage(&io::Error::from(io::ErrorKind::UnexpectedEof)));
    let untrusted = sqlx::Error::Tls("the certificate is of somebody else".into());
    assert_eq!(classify(&untrusted, Tables::Source).0, ErrorKind::WrongServer);
}
