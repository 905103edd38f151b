//! Spans for OpenTelemetry, handed to a collector as OTLP over HTTP. Where no collector is named nothing of
//! this runs.

use crate::config::OtlpConfig;
use bytes::Bytes;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{
    ExporterBuildError, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use ureq::http::{Request, Response};

/// A collector has this long to take a batch of spans.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Most bytes of its answer that are looked at.
const ANSWER_LEN_MAX: u64 = 65_536;

/// Hands spans over, in batches, on a thread of its own, and drops what is too much. Dropping it hands over what
/// is left.
pub(super) struct SpanExport(SdkTracerProvider);

impl SpanExport {
    /// Starts.
    ///
    /// # Errors
    /// When the address of the collector is none.
    pub fn start(config: &OtlpConfig) -> Result<Self, ExporterBuildError> {
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Courier::new(config.endpoint.clone()))
            .with_endpoint(format!("{}/v1/traces", config.endpoint))
            .with_timeout(TIMEOUT)
            .build()?;
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        let resource = Resource::builder()
            .with_service_name("siegel")
            .with_attribute(version);
        let share = 1.0 / f64::from(config.one_in.max(1));
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource.build())
            .with_sampler(Sampler::TraceIdRatioBased(share));
        Ok(Self(provider.build()))
    }

    /// Where spans begin.
    pub fn tracer(&self) -> SdkTracer {
        let scope = InstrumentationScope::builder("siegel");
        self.0.tracer_with_scope(scope.build())
    }
}

impl Drop for SpanExport {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown_with_timeout(TIMEOUT) {
            tracing::warn!(%error, "the last spans were not handed over");
        }
    }
}

/// Posts to the collector. Blocks, which the thread that hands over may.
#[derive(Debug)]
struct Courier {
    agent: ureq::Agent,
    endpoint: String,
    /// So that a collector that is away is told about once.
    is_failing: AtomicBool,
}

impl Courier {
    fn new(endpoint: String) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .timeout_global(Some(TIMEOUT));
        Self {
            agent: config.build().into(),
            endpoint,
            is_failing: AtomicBool::new(false),
        }
    }

    fn post(&self, request: Request<Bytes>) -> Result<Response<Bytes>, ureq::Error> {
        let answer = self.agent.run(request.map(|body| body.to_vec()))?;
        let (head, mut body) = answer.into_parts();
        let bytes = body.with_config().limit(ANSWER_LEN_MAX).read_to_vec()?;
        Ok(Response::from_parts(head, bytes.into()))
    }

    fn tell(&self, trouble: Option<String>) {
        let endpoint = &self.endpoint;
        let was_failing = self.is_failing.swap(trouble.is_some(), Relaxed);
        match trouble {
            Some(error) if !was_failing => {
                tracing::warn!(%error, "spans could not be handed to {endpoint}; they are dropped");
            }
            None if was_failing => tracing::info!("spans are handed to {endpoint} again"),
            Some(_) | None => {}
        }
    }
}

impl HttpClient for Courier {
    fn send_bytes<'own, 'call>(
        &'own self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'call>>
    where
        'own: 'call,
        Self: 'call,
    {
        Box::pin(async move {
            let answer = self.post(request);
            self.tell(match &answer {
                Ok(answer) if answer.status().is_success() => None,
                Ok(answer) => Some(answer.status().to_string()),
                Err(error) => Some(error.to_string()),
            });
            Ok(answer?)
        })
    }
}
