//! Wrong logins: counted in the ledger per API key and per source address, so that all nodes know of
//! them and a restart forgets nothing.
//!
//! A right secret is always let in: it is 32 random bytes, so nobody guesses it at any speed, and whoever
//! sends wrong ones must not be able to lock a shop out. What waits is whoever is wrong.

use super::door::Desk;
use super::limits::too_many;
use super::problem::Problem;
use crate::ledger::{ApiKey, LedgerError, LoginFailures, Store};
use crate::terms::SeTime;
use actix_web::HttpRequest;
use std::net::IpAddr;

/// Failures older than this are forgotten, in seconds.
const WINDOW_S: i64 = 900;
/// Longest wait for the next try, in seconds.
const WAIT_S_MAX: i64 = 300;

/// Wrong logins that are taken before the next one has to wait; 0 is no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongLogins {
    /// Of one API key.
    pub per_key: u32,
    /// From one address.
    pub per_address: u32,
    /// Header in which a reverse proxy writes the client's address at the end; `None`: there is no proxy.
    pub address_header: Option<String>,
}

/// Where a login comes from, and for which key, if there is such a key.
pub(super) struct Attempt {
    pub address: Option<IpAddr>,
    pub key: Option<ApiKey>,
}

/// Something whose failures are counted.
struct Subject {
    text: String,
    allowed: u32,
}

impl Attempt {
    fn subjects(&self, allowed: &WrongLogins) -> Vec<Subject> {
        // Keys that do not exist are not counted, or anybody could fill the ledger with them.
        let key = self.key.as_ref().map(|key| Subject {
            text: format!("key {}", key.id()),
            allowed: allowed.per_key,
        });
        let address = self.address.map(|address| Subject {
            text: format!("address {}", network(address)),
            allowed: allowed.per_address,
        });
        let subjects = key.into_iter().chain(address);
        subjects.filter(|subject| subject.allowed > 0).collect()
    }
}

/// An IPv6 client has a whole network for itself.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
    }
}

/// The address a call comes from.
pub(super) fn address(request: &HttpRequest, header: Option<&str>) -> Option<IpAddr> {
    // The last entry is the proxy's own; those before it are whatever the client wrote.
    let told = header
        .and_then(|name| request.headers().get_all(name).last())
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.rsplit(',').next())
        .and_then(|text| text.trim().parse().ok());
    told.or_else(|| request.peer_addr().map(|peer| peer.ip()))
}

/// Seconds until the next wrong login is taken; each one that is doubles the wait.
fn wait_s(known: &LoginFailures, allowed: u32, now: SeTime) -> i64 {
    let since_s = now.unix_seconds() - known.time_last.unix_seconds();
    let Some(over) = known.failures.checked_sub(allowed.into()) else {
        return 0;
    };
    if since_s >= WINDOW_S {
        return 0;
    }
    let doublings = u32::try_from(over).unwrap_or(u32::MAX).min(20);
    let delay_s = (1_i64 << doublings).min(WAIT_S_MAX);
    // A node whose clock is behind must not make it longer.
    (delay_s - since_s).clamp(0, delay_s)
}

/// What a wrong login is answered: 401, or 429 when there were too many. Only what gets a 401 counts.
pub(super) async fn refuse(
    desk: &Desk,
    attempt: Attempt,
    message: &'static str,
    now: SeTime,
) -> Problem {
    let subjects = attempt.subjects(&desk.door.settings.wrong_logins);
    let waited = desk.ask(move |store| count(store, &subjects, now)).await;
    match waited {
        Ok(0) => Problem::unauthorized(message),
        Ok(wait_s) => too_many("too many failed logins", wait_s),
        Err(problem) => problem,
    }
}

/// Seconds to wait; zero: this try was taken and counted. Blocks.
fn count(store: &Store, subjects: &[Subject], now: SeTime) -> Result<i64, LedgerError> {
    if subjects.is_empty() {
        return Ok(0);
    }
    let texts: Vec<_> = subjects
        .iter()
        .map(|subject| subject.text.clone())
        .collect();
    let known = store.login_failures(&texts)?;
    let of = |subject: &Subject| known.iter().find(|known| known.subject == subject.text);
    let waits = subjects.iter().filter_map(|subject| {
        let known = of(subject)?;
        Some(wait_s(known, subject.allowed, now))
    });
    let longest_s = waits.max().unwrap_or(0);
    if longest_s > 0 {
        return Ok(longest_s);
    }
    for subject in subjects {
        let before = of(subject).map_or(0, |known| known.failures);
        if before.saturating_add(1) == u64::from(subject.allowed) {
            let text = &subject.text;
            tracing::warn!(%text, "too many wrong logins: {text} has to wait from now on");
        }
    }
    store.forget_login_failures(now.plus_seconds(-WINDOW_S))?;
    store.count_login_failure(&texts, now)?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn failed(failures: u64, time_last: i64) -> LoginFailures {
        LoginFailures {
            subject: String::new(),
            failures,
            time_last: SeTime::try_from(time_last).unwrap(),
        }
    }

    #[test]
    fn waits_double_up_to_the_longest_and_end() {
        let wait =
            |failures, now| wait_s(&failed(failures, 1000), 3, SeTime::try_from(now).unwrap());
        let at_once: Vec<_> = (0..8).map(|failures| wait(failures, 1000)).collect();
        assert_eq!(at_once, [0, 0, 0, 1, 2, 4, 8, 16]);
        assert_eq!((wait(7, 1010), wait(7, 1016), wait(7, 1017)), (6, 0, 0));
        assert_eq!((wait(1_000_000, 1000), wait(u64::MAX, 1299)), (300, 1));
        assert_eq!(wait(u64::MAX, 1900), 0);
        assert_eq!(
            wait(7, 500),
            16,
            "a clock that is behind makes it no longer"
        );
    }

    #[test]
    fn an_address_is_what_the_nearest_proxy_says() {
        let seen = |headers: &[&str], name: Option<&str>| {
            let mut request = TestRequest::default().peer_addr("192.0.2.7:5".parse().unwrap());
            for value in headers {
                request = request.append_header(("x-forwarded-for", *value));
            }
            address(&request.to_http_request(), name)
                .unwrap()
                .to_string()
        };
        let header = Some("x-forwarded-for");
        assert_eq!(seen(&["198.51.100.1"], None), "192.0.2.7");
        assert_eq!(seen(&["198.51.100.1"], header), "198.51.100.1");
        assert_eq!(seen(&["10.0.0.1, 198.51.100.1"], header), "198.51.100.1");
        assert_eq!(seen(&["10.0.0.1", "2001:db8::1"], header), "2001:db8::1");
        assert_eq!(seen(&[], header), "192.0.2.7");
        assert_eq!(seen(&["unknown"], header), "192.0.2.7");
    }

    #[test]
    fn one_client_of_ipv6_is_one_network() {
        let of = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(of("::ffff:192.0.2.1"), "192.0.2.1");
    }
}
