//! The URL of a database beside another one.

/// The URL of MongoDB with that database in it, which `Mongo::connect` needs.
pub(crate) fn with_database(url: &str, database: &str) -> String {
    let (address, options) = url.split_once('?').unwrap_or((url, ""));
    let hosts = address.find("://").map_or(0, |scheme| scheme + "://".len());
    let (server, named) = match address[hosts..].find('/') {
        Some(path) => (&address[..hosts + path], &address[hosts + path + 1..]),
        None => (address, ""),
    };
    let mut options: Vec<&str> = options.split('&').filter(|option| !option.is_empty()).collect();
    // Without this, MongoDB looks for the user in the database that the URL names.
    let users = format!("authSource={}", if named.is_empty() { "admin" } else { named });
    if server.contains('@') && !server.starts_with("mongodb+srv:") && !url.contains("authSource=") {
        options.push(&users);
    }
    let options = if options.is_empty() { String::new() } else { format!("?{}", options.join("&")) };
    format!("{server}/{database}{options}")
}
