//! The caller's own credential, as the kubeconfig has it, kept fresh.

use std::sync::Arc;

use async_trait::async_trait;
use guard_identity::UpstreamError;
use guard_proxy::UpstreamCredentials;
use http::{HeaderValue, Request, Response, header};
use kube::Config;
use kube::client::{Body, ConfigExt as _};
use tokio::sync::Mutex;
use tower::util::BoxCloneService;
use tower::{BoxError, Layer as _, ServiceExt as _, service_fn};

/// Gives the header of one request.
type Header = BoxCloneService<Request<Body>, Response<Option<HeaderValue>>, BoxError>;

/// What the kubeconfig's user has: a token, a token's file, a plugin, a password; or nothing, where a certificate speaks.
pub(super) struct Credentials {
    config: Config,
    /// `None` from when the API server refuses it until it is had anew.
    current: Arc<Mutex<Option<Header>>>,
}

impl Credentials {
    /// Has it for the first time, so that what is wrong is told before the command starts.
    pub(super) async fn new(config: &Config) -> Result<Self, UpstreamError> {
        let credentials = Self { config: config.clone(), current: Arc::default() };
        credentials.authorization().await?;
        Ok(credentials)
    }
}

#[async_trait]
impl UpstreamCredentials for Credentials {
    async fn authorization(&self) -> Result<Option<HeaderValue>, UpstreamError> {
        let header = {
            let mut current = self.current.lock().await;
            if current.is_none() {
                let config = self.config.clone();
                // A plugin may take its time.
                let made = tokio::task::spawn_blocking(move || header_of(&config)).await;
                *current = Some(made.map_err(|error| UpstreamError::Caller(error.to_string()))??);
            }
            current.clone()
        };
        let header = header.ok_or_else(|| UpstreamError::Caller("it was refused".to_owned()))?;
        let answer = header.oneshot(Request::new(Body::empty())).await;
        answer.map(Response::into_body).map_err(|error| UpstreamError::Caller(chain(&*error)))
    }

    fn invalidate(&self) {
        // Who has it now is just getting a new one.
        if let Ok(mut current) = self.current.try_lock() {
            *current = None;
        }
    }
}

fn header_of(config: &Config) -> Result<Header, UpstreamError> {
    let layer = config.auth_layer().map_err(|error| UpstreamError::Caller(chain(&error)))?;
    let sent = service_fn(|request: Request<Body>| async move {
        let value = request.headers().get(header::AUTHORIZATION).cloned();
        Ok::<_, BoxError>(Response::new(value.map(|mut value| {
            value.set_sensitive(true);
            value
        })))
    });
    Ok(match layer {
        None => BoxCloneService::new(sent),
        Some(layer) => BoxCloneService::new(layer.layer(sent)),
    })
}

/// With its causes: a plugin's own words are the last.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}
