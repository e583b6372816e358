//! A table of ours, and the capture instance that its changes are read from.

use change::{SourceError, SourceErrorKind, TableScope};

use super::window::{altered, dropped};
use crate::catalog::{self, Table};
use crate::client::Client;
use crate::config::SqlServerConfig;
use crate::instance::{self, Layout, by_preference};
use crate::lsn::Lsn;

/// What the stream knows of a table.
pub(super) struct Followed {
    /// Its number.
    pub(super) number: u16,
    scope: TableScope,
    table: Table,
    /// What is read of its change table.
    pub(super) layout: Layout,
    /// Instances that lack mapped columns, by the numbers of their change tables.
    unfit: Vec<i64>,
}

impl Followed {
    /// Finds the instance that has what follows `from`.
    ///
    /// # Errors
    /// [`SourceErrorKind::LostLog`] when none has it any more; a configuration or schema error when none is fit.
    pub(super) async fn find(
        client: &mut Client,
        config: &SqlServerConfig,
        (number, scope, table): (u16, &TableScope, Table),
        from: Lsn,
    ) -> Result<Self, SourceError> {
        let layout = instance::choose(client, config, (&table, scope), from).await?;
        Ok(Self { number, scope: scope.clone(), table, layout, unfit: Vec::new() })
    }

    /// Stays with the instance that is being read while no better one covers what comes next; this is also the first of the
    /// two looks at the low end.
    ///
    /// # Errors
    /// As for [`Followed::find`].
    pub(super) async fn choose_instance(
        &mut self,
        client: &mut Client,
        config: &SqlServerConfig,
        from: Lsn,
    ) -> Result<(), SourceError> {
        let instances = instance::list(client, &self.table).await?;
        let best = by_preference(&instances, config)
            .into_iter()
            .find(|one| one.covers(from) && !self.unfit.contains(&one.object_id));
        if best.is_some_and(|best| best.object_id == self.layout.instance.object_id) {
            return Ok(());
        }
        let layout = instance::choose(client, config, (&self.table, &self.scope), from).await?;
        if layout.instance.object_id == self.layout.instance.object_id {
            // The better one lacks columns, and it always will.
            self.unfit.extend(best.map(|best| best.object_id));
            return Ok(());
        }
        tracing::info!(
            table = self.table.quoted(),
            from = self.layout.instance.name,
            to = layout.instance.name,
            position = %from,
            "the stream goes on with another capture instance"
        );
        self.layout = layout;
        Ok(())
    }

    /// Looks at the table again if its definitions changed within the window: a mapped column that went away would read as
    /// NULL from here on.
    ///
    /// # Errors
    /// A schema error when a mapped column is gone, or of a type that no record can carry.
    pub(super) async fn look_again(
        &mut self,
        client: &mut Client,
        config: &SqlServerConfig,
        (from, to): (Lsn, Lsn),
    ) -> Result<(), SourceError> {
        if !altered(client, self.table.object_id, (from, to)).await? {
            return Ok(());
        }
        self.table = catalog::table(client, &self.scope).await?;
        self.table.mapped_kinds()?;
        self.layout = instance::choose(client, config, (&self.table, &self.scope), from).await?;
        Ok(())
    }

    /// What to make of a change table that is not as it was: was it altered, or is it gone?
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub(super) async fn explain(
        &self,
        client: &mut Client,
        error: SourceError,
    ) -> Result<SourceError, SourceError> {
        if error.kind() != SourceErrorKind::Schema {
            return Ok(error);
        }
        let left = instance::list(client, &self.table).await?;
        let here = left.iter().any(|one| one.object_id == self.layout.instance.object_id);
        Ok(if here { error } else { dropped(&self.layout.instance).caused_by(error) })
    }
}
