//! How PostgreSQL is reached: what the operator wrote, and what is added to it.

/// What libpq is told unless the operator's own text says it: a node whose database is gone must
/// notice within seconds, not after hours. Its tills have another node to ask, and not much patience.
const CONNECTION_DEFAULTS: [(&str, &str); 5] = [
    ("connect_timeout", "5"),
    ("keepalives_idle", "3"),
    ("keepalives_interval", "2"),
    ("keepalives_count", "2"),
    ("tcp_user_timeout", "7000"),
];

/// libpq takes URLs and lists of words; an earlier value gives way to a later one only in some
/// versions, so what the operator wrote is never written twice.
pub(super) fn with_defaults(url: &str) -> String {
    let mut text = url.to_owned();
    for (name, value) in CONNECTION_DEFAULTS {
        if !url.contains(name) {
            add_setting(&mut text, name, value);
        }
    }
    text
}

/// The same database, with the tables in a schema of their own.
pub(super) fn in_schema(url: &str, schema: &str) -> String {
    let mut text = url.to_owned();
    add_setting(&mut text, "options", &format!("-csearch_path={schema}"));
    text
}

fn add_setting(text: &mut String, name: &str, value: &str) {
    let is_url = text.starts_with("postgres://") || text.starts_with("postgresql://");
    // Within a URL the second equals sign of a value has to be written otherwise.
    let value = match is_url {
        true => value.replace('=', "%3D"),
        false => value.to_owned(),
    };
    text.push_str(match (is_url, text.contains('?')) {
        (false, _) => " ",
        (true, false) => "?",
        (true, true) if text.ends_with(['?', '&']) => "",
        (true, true) => "&",
    });
    text.push_str(&format!("{name}={value}"));
}
