//! A database, a dashboard and the product between them.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{NaiveDate, TimeDelta};

use super::backend::{Backend, Session};
use super::config::Config;
use super::dashboard::Dashboard;
use super::product::Product;
use super::wait::{LATER, eventually};

/// Where a test takes place. The daemon is started by the test.
pub(crate) struct Scene<B: Backend> {
    pub(crate) product: Product,
    pub(crate) config: Config,
    pub(crate) dashboard: Dashboard,
    pub(crate) sql: B::Session,
    pub(crate) backend: Arc<B>,
    ticks: AtomicI64,
}

impl<B: Backend> Scene<B> {
    /// On the shared server, with the suite's own table.
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// The same with another configuration.
    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        Self::on(B::shared().await, change).await
    }

    /// On a server of its own.
    pub(crate) async fn own(change: impl FnOnce(&mut Config)) -> Self {
        Self::on(B::own().await, change).await
    }

    /// On this backend, with the suite's own table.
    pub(crate) async fn on(backend: B, change: impl FnOnce(&mut Config)) -> Self {
        backend.create_table().await;
        let dashboard = Dashboard::start().await;
        let mut config = Config::new(backend.source(), &dashboard.url());
        change(&mut config);
        let product = Product::new(&config, &backend.password());
        let sql = backend.session().await.unwrap();
        Self { product, config, dashboard, sql, backend: Arc::new(backend), ticks: AtomicI64::new(0) }
    }

    /// Changes the configuration file.
    pub(crate) fn reconfigure(&mut self, change: impl FnOnce(&mut Config)) {
        change(&mut self.config);
        self.product.configure(&self.config);
    }

    /// A local moment later than all before, as SQL text.
    pub(crate) fn moment(&self) -> String {
        let second = self.ticks.fetch_add(1, Ordering::Relaxed);
        let first = NaiveDate::from_ymd_opt(2026, 3, 2).unwrap().and_hms_opt(8, 0, 0).unwrap();
        (first + TimeDelta::seconds(second)).format("%Y-%m-%d %H:%M:%S").to_string()
    }

    /// Opens a request of service LIC.
    pub(crate) async fn open(&self, numero: &str, estado: &str) {
        self.sql.run(&self.opening(numero, estado)).await;
    }

    /// The statement that opens a request.
    pub(crate) fn opening(&self, numero: &str, estado: &str) -> String {
        let moment = self.moment();
        format!(
            "INSERT INTO solicitudes (numero, servicio, estado, fecha_apertura, fecha_modificacion) \
             VALUES ('{numero}', 'LIC', '{estado}', '{moment}', '{moment}')"
        )
    }

    /// Passes a request to a status.
    pub(crate) async fn pass(&self, numero: &str, estado: &str) {
        self.sql.run(&self.passing(numero, estado)).await;
    }

    /// The statement that passes a request to a status.
    pub(crate) fn passing(&self, numero: &str, estado: &str) -> String {
        let moment = self.moment();
        format!(
            "UPDATE solicitudes SET estado = '{estado}', fecha_modificacion = '{moment}' \
             WHERE numero = '{numero}'"
        )
    }

    /// Flushes, and compares everything that ever arrived, as `REQUEST STATUS`.
    pub(crate) async fn flushed(&self, expected: &[&str]) {
        self.product.flush().await;
        assert_eq!(self.dashboard.lines(), expected);
    }

    /// Opens one more request and flushes until it has arrived: then everything that committed before has.
    pub(crate) async fn drain(&self) {
        let numero = format!("ULTIMA-{}", self.ticks.load(Ordering::Relaxed));
        let session = self.backend.session().await.unwrap();
        session.run(&self.opening(&numero, "RECIBIDA")).await;
        eventually("the last request arrives", LATER, async || {
            self.product.flush().await;
            self.dashboard.records().iter().any(|record| record.request_id == numero).then_some(())
        })
        .await;
    }
}
