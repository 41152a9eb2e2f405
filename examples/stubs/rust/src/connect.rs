//! The connection that the environment describes.
use std::{env, error::Error, fs};

use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

/// Puts the token on each call.
#[derive(Clone)]
pub struct WithToken(Option<MetadataValue<Ascii>>);

impl Interceptor for WithToken {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

pub type Connection = InterceptedService<Channel, WithToken>;

pub async fn from_environment() -> Result<Connection, Box<dyn Error>> {
    let target = variable("HEADWATER_TARGET").unwrap_or("localhost:50051".into());
    let address = target.trim_start_matches("dns:///");
    let has_tls = target.starts_with("https://");
    let token = variable("HEADWATER_TOKEN");
    if token.is_some() && !has_tls && !is_local(address) && variable("HEADWATER_PLAINTEXT_TOKEN") != Some("true".into()) {
        return Err(format!("HEADWATER_TOKEN would go to {target} unencrypted; write https:// before the target").into());
    }
    let endpoint = if has_tls {
        Endpoint::from_shared(target)?.tls_config(tls()?)?
    } else if address.starts_with("unix:") {
        Endpoint::from_shared(target)?
    } else {
        Endpoint::from_shared(format!("http://{address}"))?
    };
    let token = token.map(|token| format!("Bearer {token}").parse()).transpose()?;
    Ok(InterceptedService::new(endpoint.connect().await?, WithToken(token)))
}

fn tls() -> Result<ClientTlsConfig, Box<dyn Error>> {
    let mut config = ClientTlsConfig::new();
    config = match variable("HEADWATER_CA_FILE") {
        Some(file) => config.ca_certificate(Certificate::from_pem(fs::read(file)?)),
        None => config.with_native_roots(),
    };
    if let (Some(cert), Some(key)) = (variable("HEADWATER_CERT_FILE"), variable("HEADWATER_KEY_FILE")) {
        config = config.identity(Identity::from_pem(fs::read(cert)?, fs::read(key)?));
    }
    Ok(config)
}

fn is_local(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    address.starts_with("unix:") || host == "localhost" || host == "[::1]" || host.starts_with("127.")
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}
