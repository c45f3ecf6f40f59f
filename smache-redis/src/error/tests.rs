use std::io;

use redis::parse_redis_value;

use super::*;

fn server_error(line: &str) -> RedisError {
    let value = parse_redis_value(format!("-{line}\r\n").as_bytes()).expect("an error line");
    match value {
        redis::Value::ServerError(error) => error.into(),
        other => panic!("not an error: {other:?}"),
    }
}

#[test]
fn each_code_of_a_server_has_its_kind() {
    let table = [
        ("LOADING Redis is loading the dataset in memory", ErrorKind::Unavailable),
        ("BUSY Redis is busy running a script", ErrorKind::Unavailable),
        ("MASTERDOWN Link with MASTER is down", ErrorKind::Unavailable),
        ("CLUSTERDOWN Hash slot not served", ErrorKind::Unavailable),
        ("TRYAGAIN Multiple keys request during rehashing of slot", ErrorKind::Unavailable),
        ("READONLY You can't write against a read only replica.", ErrorKind::Unavailable),
        ("UNBLOCKED force unblock from blocking operation, instance state changed", ErrorKind::Unavailable),
        ("NOREPLICAS Not enough good replicas to write.", ErrorKind::Unavailable),
        ("MISCONF Redis is configured to save RDB snapshots", ErrorKind::Unavailable),
        ("OOM command not allowed when used memory > 'maxmemory'.", ErrorKind::Unavailable),
        ("ERR max number of clients reached", ErrorKind::Unavailable),
        ("NOAUTH Authentication required.", ErrorKind::Permission),
        ("WRONGPASS invalid username-password pair or user is disabled.", ErrorKind::Permission),
        ("NOPERM this user has no permissions to run the 'info' command", ErrorKind::Permission),
        ("ERR The user executing the script can't run this command or subcommand script: f1", ErrorKind::Permission),
        ("ERR Error running script: -NOPERM The user executing the script can't run this", ErrorKind::Permission),
        ("DENIED Redis is running in protected mode", ErrorKind::Permission),
        ("MOVED 3999 127.0.0.1:6381", ErrorKind::WrongServer),
        ("CROSSSLOT Keys in request don't hash to the same slot", ErrorKind::WrongServer),
        ("ERR unknown command 'EVALSHA'", ErrorKind::WrongServer),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", ErrorKind::Corrupt),
        (
            "ERR Error running script (call to f_1): @user_script:9: -WRONGTYPE Operation against a key",
            ErrorKind::Corrupt,
        ),
        (
            "ERR Error running script (call to f_1): @user_script:9: @user_script: 9: -OOM command not allowed",
            ErrorKind::Unavailable,
        ),
        ("ERR user_script:3: attempt to index a nil value", ErrorKind::Internal),
        ("SOMETHING else", ErrorKind::Internal),
    ];
    for (line, kind) in table {
        let error = failed(server_error(line), "localhost:6379");
        assert_eq!(error.kind(), kind, "{line}");
        assert_eq!(error.is_transient(), kind == ErrorKind::Unavailable, "{line}");
    }
}

#[test]
fn each_failure_of_a_connection_has_its_kind() {
    let table = [
        (io::ErrorKind::TimedOut, ErrorKind::Timeout),
        (io::ErrorKind::ConnectionRefused, ErrorKind::Unavailable),
        (io::ErrorKind::ConnectionReset, ErrorKind::Unavailable),
        (io::ErrorKind::BrokenPipe, ErrorKind::Unavailable),
        (io::ErrorKind::UnexpectedEof, ErrorKind::Unavailable),
        (io::ErrorKind::InvalidData, ErrorKind::WrongServer),
        (io::ErrorKind::PermissionDenied, ErrorKind::Permission),
    ];
    for (cause, kind) in table {
        let error = RedisError::from(io::Error::from(cause));
        assert!(ends_connection(&error), "{cause}");
        let error = failed(error, "localhost:6379");
        assert_eq!(error.kind(), kind, "{cause}");
        assert!(error.message().contains(": "), "what to do about it: {error}");
    }
    let garbage = parse_redis_value(b"HTTP/1.1 400 Bad Request\r\n").expect_err("not an answer of a Redis");
    assert_eq!(failed(garbage, "localhost:6379").kind(), ErrorKind::WrongServer);
}

#[test]
fn a_demoted_server_is_left() {
    assert!(ends_connection(&server_error("READONLY You can't write against a read only replica.")));
    assert!(ends_connection(&server_error(
        "ERR Error running script (call to f_1): @user_script:9: -READONLY You can't"
    )));
    assert!(!ends_connection(&server_error("WRONGTYPE Operation against a key holding the wrong kind of value")));
    assert!(!ends_connection(&server_error("LOADING Redis is loading the dataset in memory")));
}
