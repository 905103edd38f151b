//! A ledger for a measurement, beside a real one and in the same kind of database.

use super::connection::unavailable;
use super::line::connect_error;
use super::postgres::Patience;
use super::{LedgerError, StoreConfig, postgres, postgres_url};
use crate::terms::Entropy;
use diesel::connection::SimpleConnection as _;
use std::path::PathBuf;

/// An empty ledger of its own. Dropping it removes it: close the store first.
pub struct ThrowAway {
    config: StoreConfig,
    remains: Remains,
}

enum Remains {
    /// The file, and what SQLite and we put beside it.
    File(PathBuf),
    /// The schema of that name.
    Schema { url: String, name: String },
}

/// What stands beside a SQLite file.
const SUFFIXES: [&str; 4] = ["", "-wal", "-shm", ".lock"];

impl ThrowAway {
    /// Makes room for one: a SQLite file in the folder of the real one, on the same disk; or a schema in the
    /// same PostgreSQL database, whose user must be allowed to make one.
    ///
    /// # Errors
    /// When the database does not make the schema.
    pub fn beside(real: &StoreConfig, entropy: &dyn Entropy) -> Result<Self, LedgerError> {
        let mut bytes = [0; 8];
        entropy.fill(&mut bytes);
        let name = format!("siegel_bench_{}", hex::encode(bytes));
        match real {
            StoreConfig::Sqlite { path } => {
                let path = path.with_file_name(format!("{name}.db"));
                Ok(Self {
                    config: StoreConfig::Sqlite { path: path.clone() },
                    remains: Remains::File(path),
                })
            }
            StoreConfig::Postgres {
                url,
                connections_max,
                lock_timeout_ms,
                standstill_ms,
            } => {
                execute(url, &format!("CREATE SCHEMA {name}"))?;
                Ok(Self {
                    config: StoreConfig::Postgres {
                        url: postgres_url::in_schema(url, &name),
                        connections_max: *connections_max,
                        lock_timeout_ms: *lock_timeout_ms,
                        standstill_ms: *standstill_ms,
                    },
                    remains: Remains::Schema {
                        url: url.clone(),
                        name,
                    },
                })
            }
        }
    }

    /// Where it is.
    pub const fn config(&self) -> &StoreConfig {
        &self.config
    }
}

/// Nobody else knows the schema, so one wait is as good as another.
const WAIT_MS: u32 = 10_000;

fn execute(url: &str, sql: &str) -> Result<(), LedgerError> {
    let patience = Patience {
        lock_timeout_ms: WAIT_MS,
        standstill_ms: WAIT_MS,
    };
    let mut connection = postgres::connect(url, patience).map_err(connect_error)?;
    let done = connection.batch_execute(sql);
    done.map_err(unavailable("make or remove a schema"))
}

impl Drop for ThrowAway {
    fn drop(&mut self) {
        match &self.remains {
            Remains::File(path) => {
                for suffix in SUFFIXES {
                    let mut name = path.clone().into_os_string();
                    name.push(suffix);
                    // Not all of them are there.
                    let _ = std::fs::remove_file(name);
                }
            }
            Remains::Schema { url, name } => {
                let sql = format!("DROP SCHEMA {name} CASCADE");
                if let Err(error) = execute(url, &sql) {
                    tracing::error!(%error, "the schema {name} stays in the database");
                }
            }
        }
    }
}
