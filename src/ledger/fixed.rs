//! Statements that are prepared once.
//!
//! Diesel cannot know how many texts an UPDATE or SQL that is written out may have, so it has the database parse
//! and plan these each time. For a row by its key that takes longer than the work itself. These have one text.

use diesel::backend::Backend;
use diesel::connection::Connection;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::serialize::ToSql;
use diesel::sql_types::{HasSqlType, Untyped};
use std::marker::PhantomData;

/// The text up to the first value.
pub(super) struct Fixed(pub &'static str);

/// A statement with one more value of the SQL type `T`.
pub(super) struct With<Q, T, V> {
    before: Q,
    value: V,
    sql_type: PhantomData<T>,
}

/// A statement with more text.
pub(super) struct Then<Q> {
    before: Q,
    text: &'static str,
}

/// Puts a statement together, piece by piece.
pub(super) trait FixedStatement: Sized {
    /// Adds a value of the SQL type `T`.
    fn with<T, V>(self, value: V) -> With<Self, T, V> {
        With {
            before: self,
            value,
            sql_type: PhantomData,
        }
    }

    /// Adds text.
    fn then(self, text: &'static str) -> Then<Self> {
        Then { before: self, text }
    }
}

/// Pieces one after the other, as one statement. A connection keeps a prepared statement for each choice and order of
/// pieces that it has met, so there must not be many of them.
pub(super) struct Several<'p, DB: Backend>(pub Vec<Box<dyn QueryFragment<DB> + 'p>>);

impl FixedStatement for Fixed {}

impl<Q, T, V> FixedStatement for With<Q, T, V> {}

impl<Q> FixedStatement for Then<Q> {}

impl<DB: Backend> QueryFragment<DB> for Fixed {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        out.push_sql(self.0);
        Ok(())
    }
}

impl<DB, Q, T, V> QueryFragment<DB> for With<Q, T, V>
where
    DB: Backend + HasSqlType<T>,
    Q: QueryFragment<DB>,
    V: ToSql<T, DB>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        self.before.walk_ast(out.reborrow())?;
        out.push_bind_param::<T, V>(&self.value)
    }
}

impl<DB: Backend, Q: QueryFragment<DB>> QueryFragment<DB> for Then<Q> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        self.before.walk_ast(out.reborrow())?;
        out.push_sql(self.text);
        Ok(())
    }
}

impl<DB: Backend> QueryFragment<DB> for Several<'_, DB> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        let mut all = self.0.iter();
        all.try_for_each(|one| one.walk_ast(out.reborrow()))
    }
}

macro_rules! a_query {
    ($(<$($parameter:tt $(: $bound:ident)?),+> for $statement:ty;)+) => {$(
        /// Known by its text.
        impl<$($parameter $(: $bound)?),+> QueryId for $statement {
            type QueryId = ();

            const HAS_STATIC_QUERY_ID: bool = false;
        }

        impl<$($parameter $(: $bound)?),+> Query for $statement {
            type SqlType = Untyped;
        }

        impl<C: Connection, $($parameter $(: $bound)?),+> RunQueryDsl<C> for $statement {}
    )+};
}

a_query! {
    <Q, T, V> for With<Q, T, V>;
    <Q> for Then<Q>;
    <DB: Backend> for Several<'_, DB>;
}
