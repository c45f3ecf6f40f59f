//! Bad days of a shop that runs on PostgreSQL and Redis: no customer sees an error where a page is stored, no page is
//! called fresh that is not, and soon after the trouble every page is fresh.

mod bad_days;
mod balancer;
mod customers;
#[path = "../../../shared/raw_redis.rs"]
mod raw_redis;
mod shop;
