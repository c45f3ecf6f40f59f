//! The whole path on real servers: documents in MongoDB, results and jobs in Redis, readers and workers in separate
//! processes that are killed and started again. `everywhere` runs the most telling stories on the other backends.

#[path = "../../../shared/raw_redis.rs"]
mod raw_redis;
#[path = "../../../../examples/course_statistics/school.rs"]
mod school;
#[path = "../../../shared/tables.rs"]
mod tables;
#[path = "../../../shared/statistics.rs"]
mod tale;
#[path = "../../../../examples/mixed/src/url.rs"]
mod url;
#[path = "../../../shared/waits.rs"]
mod waits;

mod apart;
mod barrier;
mod composite;
mod connect;
mod crashes;
mod databases;
mod decimals;
mod doctor;
mod everywhere;
mod feeds;
mod functions;
mod idle;
mod matrix;
mod mixed;
mod nested;
mod node;
mod once;
mod panics;
mod place;
mod promptly;
mod refusals;
mod source_loss;
mod statistics;
mod store_loss;
mod story;
mod tls;
mod trigger;
mod trips;
mod watch;
mod world;
