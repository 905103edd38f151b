//! Logins that failed, counted for all nodes together, and how long a token secret is needed.

use super::connection::{is_unique_violation, unavailable};
use super::store::Store;
use super::tables::{login_failure, token_secret};
use super::values::{time, unsigned};
use super::{LedgerError, TokenSecret};
use crate::terms::SeTime;
use diesel::prelude::*;

type Result<T> = std::result::Result<T, LedgerError>;

/// How often somebody failed to log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginFailures {
    /// Whom or where the tries were for or from.
    pub subject: String,
    /// How many there were.
    pub failures: u64,
    /// When the last one was.
    pub time_last: SeTime,
}

#[derive(Insertable, Queryable, Selectable)]
#[diesel(table_name = login_failure)]
struct FailureRecord {
    subject: String,
    failures: i64,
    time_last: i64,
}

impl FailureRecord {
    fn into_row(self) -> Result<LoginFailures> {
        Ok(LoginFailures {
            subject: self.subject,
            failures: unsigned("login_failure.failures", self.failures)?,
            time_last: time("login_failure.time_last", self.time_last)?,
        })
    }
}

/// Errors of all of these: [`LedgerError::Unavailable`] when the database does not answer.
impl Store {
    /// What is known about these subjects.
    pub fn login_failures(&self, subjects: &[String]) -> Result<Vec<LoginFailures>> {
        let rows: Vec<FailureRecord> = login_failure::table
            .filter(login_failure::subject.eq_any(subjects))
            .select(FailureRecord::as_select())
            .load(&mut self.connection()?)
            .map_err(unavailable("read failed logins"))?;
        rows.into_iter().map(FailureRecord::into_row).collect()
    }

    /// Counts one more failure of each subject. Nodes that count at the same time lose none.
    pub fn count_login_failure(&self, subjects: &[String], now: SeTime) -> Result<()> {
        let mut connection = self.writing()?;
        for subject in subjects {
            let mut count_again = || {
                diesel::update(login_failure::table.find(subject))
                    .set((
                        login_failure::failures.eq(login_failure::failures + 1),
                        login_failure::time_last.eq(now.unix_seconds()),
                    ))
                    .execute(&mut *connection)
            };
            let counted = count_again().map_err(unavailable("count a failed login"))?;
            if counted == 1 {
                continue;
            }
            let first = FailureRecord {
                subject: subject.clone(),
                failures: 1,
                time_last: now.unix_seconds(),
            };
            let added = diesel::insert_into(login_failure::table)
                .values(first)
                .execute(&mut *connection);
            match added {
                Ok(_) => {}
                // Another node was faster.
                Err(error) if is_unique_violation(&error) => {
                    diesel::update(login_failure::table.find(subject))
                        .set(login_failure::failures.eq(login_failure::failures + 1))
                        .execute(&mut *connection)
                        .map_err(unavailable("count a failed login"))?;
                }
                Err(error) => return Err(unavailable("count a failed login")(error)),
            }
        }
        Ok(())
    }

    /// Removes the failures of subjects whose last one was then or earlier.
    pub fn forget_login_failures(&self, until: SeTime) -> Result<()> {
        let old = login_failure::time_last.le(until.unix_seconds());
        diesel::delete(login_failure::table.filter(old))
            .execute(&mut *self.writing()?)
            .map(drop)
            .map_err(unavailable("forget failed logins"))
    }

    /// Keeps a token secret at least until then; `false` when it is gone.
    pub fn keep_token_secret(&self, id: &str, until: SeTime) -> Result<bool> {
        let mut connection = self.writing()?;
        let longer = token_secret::table
            .filter(token_secret::id.eq(id))
            .filter(token_secret::used_until.lt(until.unix_seconds()));
        let changed = diesel::update(longer)
            .set(token_secret::used_until.eq(until.unix_seconds()))
            .execute(&mut *connection)
            .map_err(unavailable("keep a token secret"))?;
        if changed == 1 {
            return Ok(true);
        }
        let long_enough = token_secret::table
            .filter(token_secret::id.eq(id))
            .filter(token_secret::used_until.ge(until.unix_seconds()));
        diesel::select(diesel::dsl::exists(long_enough))
            .get_result(&mut *connection)
            .map_err(unavailable("read a token secret"))
    }

    /// Removes secrets older than `active` whose last token expired before `now`; says how many.
    pub fn forget_old_token_secrets(&self, active: &TokenSecret, now: SeTime) -> Result<u64> {
        let old = token_secret::table
            .filter(token_secret::time_creation.lt(active.time_creation.unix_seconds()))
            .filter(token_secret::used_until.lt(now.unix_seconds()));
        diesel::delete(old)
            .execute(&mut *self.writing()?)
            .map(|count| u64::try_from(count).unwrap_or(u64::MAX))
            .map_err(unavailable("forget old token secrets"))
    }
}
