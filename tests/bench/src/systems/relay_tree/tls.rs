//! TLS 1.3 with AES-128-GCM, the fastest suite where processors know AES.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::{
        CryptoProvider,
        aws_lc_rs::{cipher_suite::TLS13_AES_128_GCM_SHA256, default_provider},
    },
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName},
    version::TLS13,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, TlsConnector, client::TlsStream};

use crate::{system::Failure, systems::certificate};

fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider { cipher_suites: vec![TLS13_AES_128_GCM_SHA256], ..default_provider() })
}

/// The listening side, and its certificate as text.
pub(super) fn acceptor() -> Result<(TlsAcceptor, String), Failure> {
    let own = certificate::own()?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)?;
    Ok((TlsAcceptor::from(Arc::new(config)), certificate::to_hex(own.cert.der())))
}

/// The connecting side: accepts this certificate and no other.
pub(super) async fn connect<S>(stream: S, certificate: &str) -> Result<TlsStream<S>, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(certificate::from_hex(certificate)?))?;
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(certificate::NAME)?, stream).await?)
}
