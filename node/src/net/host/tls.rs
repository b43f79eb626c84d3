//! The TLS 1.3 handshake of libp2p (`/tls/1.0.0`), with AES-GCM preferred.
//!
//! Wire-compatible with `libp2p-tls`, whose certificates it uses. It differs in three ways:
//! the order of ciphers (`libp2p-tls` puts ChaCha20 first and has no setting, which halves the
//! throughput of a hop between machines with AES instructions), no session resumption (each
//! connection shows its certificate), and `SSLKEYLOGFILE` is not honoured. (QUIC's handshake is
//! libp2p's own, with its own order and that variable.)
//!
//! The cryptography is `ring`'s: as fast as `aws-lc-rs` here, whose generator of randomness costs
//! each thread about 35 ms, and the process 100 ms, at its first handshake; a repair cannot wait for that.
//!
//! Specification: <https://github.com/libp2p/specs/blob/master/tls/tls.md>.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use futures::{
    future::{BoxFuture, FutureExt},
    io::{AsyncRead, AsyncWrite},
};
use futures_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use libp2p::{
    PeerId,
    core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo},
    identity::Keypair,
};
use libp2p_tls::certificate;
use rustls::{
    ClientConfig, CommonState, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme,
    SupportedCipherSuite,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{
        CryptoProvider,
        ring::{self, cipher_suite},
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{
        NoServerSessionStorage,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::{CertifiedKey, SingleCertAndKey},
};

use super::yamux::FRAME_BYTES;

/// The application protocol that libp2p asks for.
const ALPN: &[u8] = b"libp2p";
/// What one connection may hold as ciphertext that the socket does not take yet: a frame of the muxer, with room to spare, so that it
/// is taken whole.
const BUFFER_BYTES: usize = 2 * FRAME_BYTES;

/// The connection upgrade: authenticates the remote and encrypts.
#[derive(Clone)]
pub(super) struct Tls {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

/// Why a handshake failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum TlsError {
    #[error("TLS handshake failed: {0}")]
    Handshake(#[from] io::Error),
    #[error("TLS certificate refused: {0}")]
    Certificate(#[from] certificate::ParseError),
    #[error("no TLS certificate was shown")]
    NoCertificate,
}

/// Why the upgrade could not be set up; the caller's key or the crypto library is at fault.
#[derive(Debug, thiserror::Error)]
pub(super) enum SetupError {
    #[error("no certificate: {0}")]
    Certificate(#[from] certificate::GenError),
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

impl Tls {
    pub(super) fn new(identity: &Keypair) -> Result<Self, SetupError> {
        let provider = Arc::new(CryptoProvider { cipher_suites: cipher_suites(), ..ring::default_provider() });
        let (certificate, key) = certificate::generate(identity)?;
        let key = provider.key_provider.load_private_key(key)?;
        let identity = Arc::new(SingleCertAndKey::from(CertifiedKey::new(vec![certificate], key)));

        let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous() // "dangerous" because there is no authority: the certificate proves the peer id
            .with_custom_certificate_verifier(Arc::new(Verifier))
            .with_client_cert_resolver(identity.clone());
        client.alpn_protocols = vec![ALPN.to_vec()];
        client.resumption = Resumption::disabled();

        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(Arc::new(Verifier))
            .with_cert_resolver(identity);
        server.alpn_protocols = vec![ALPN.to_vec()];
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;

        Ok(Self { client: Arc::new(client), server: Arc::new(server) })
    }
}

/// AES-GCM first where the processor has instructions for it, else ChaCha20 first. A server takes
/// the first choice of its client.
fn cipher_suites() -> Vec<SupportedCipherSuite> {
    let mut suites = vec![
        cipher_suite::TLS13_AES_128_GCM_SHA256,
        cipher_suite::TLS13_AES_256_GCM_SHA384,
        cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    ];
    if !has_aes_instructions() {
        suites.rotate_right(1);
    }
    suites
}

fn has_aes_instructions() -> bool {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    return std::arch::is_x86_feature_detected!("aes");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}

impl UpgradeInfo for Tls {
    type Info = &'static str;
    type InfoIter = std::iter::Once<Self::Info>;

    fn protocol_info(&self) -> Self::InfoIter {
        std::iter::once("/tls/1.0.0")
    }
}

impl<C> InboundConnectionUpgrade<C> for Tls
where
    C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    type Output = (PeerId, TlsStream<C>);
    type Error = TlsError;
    type Future = BoxFuture<'static, Result<Self::Output, TlsError>>;

    fn upgrade_inbound(self, socket: C, _: Self::Info) -> Self::Future {
        async move { finish(TlsAcceptor::from(self.server).accept(socket).await?.into()) }.boxed()
    }
}

impl<C> OutboundConnectionUpgrade<C> for Tls
where
    C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    type Output = (PeerId, TlsStream<C>);
    type Error = TlsError;
    type Future = BoxFuture<'static, Result<Self::Output, TlsError>>;

    fn upgrade_outbound(self, socket: C, _: Self::Info) -> Self::Future {
        // An address as server name switches the name extension off, as the specification asks.
        let name = ServerName::IpAddress(IpAddr::V4(Ipv4Addr::UNSPECIFIED).into());
        async move { finish(TlsConnector::from(self.client).connect(name, socket).await?.into()) }.boxed()
    }
}

fn finish<C>(mut stream: TlsStream<C>) -> Result<(PeerId, TlsStream<C>), TlsError> {
    let peer = match &mut stream {
        TlsStream::Client(stream) => {
            let session = stream.get_mut().1;
            session.set_buffer_limit(Some(BUFFER_BYTES));
            peer_of(session)?
        }
        TlsStream::Server(stream) => {
            let session = stream.get_mut().1;
            session.set_buffer_limit(Some(BUFFER_BYTES));
            peer_of(session)?
        }
    };
    Ok((peer, stream))
}

fn peer_of(session: &CommonState) -> Result<PeerId, TlsError> {
    let Some([certificate]) = session.peer_certificates() else { return Err(TlsError::NoCertificate) };
    Ok(certificate::parse(certificate)?.peer_id())
}

/// Accepts exactly one self-signed certificate whose extension is signed by the peer's key.
#[derive(Debug)]
struct Verifier;

fn verify_certificate(
    end_entity: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
) -> Result<(), rustls::Error> {
    if !intermediates.is_empty() {
        return Err(rustls::Error::General("more than one certificate".into()));
    }
    certificate::parse(end_entity)?;
    Ok(())
}

fn verify_signature(
    certificate: &CertificateDer<'_>,
    message: &[u8],
    signature: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, rustls::Error> {
    certificate::parse(certificate)?.verify_signature(signature.scheme, message, signature.signature())?;
    Ok(HandshakeSignatureValid::assertion())
}

fn tls12() -> rustls::Error {
    rustls::Error::General("only TLS 1.3 is spoken".into())
}

/// The schemes of `libp2p-tls`, most preferred first.
fn schemes() -> Vec<SignatureScheme> {
    vec![
        SignatureScheme::ECDSA_NISTP384_SHA384,
        SignatureScheme::ECDSA_NISTP256_SHA256,
        SignatureScheme::ED25519,
        SignatureScheme::RSA_PSS_SHA512,
        SignatureScheme::RSA_PSS_SHA384,
        SignatureScheme::RSA_PSS_SHA256,
        SignatureScheme::RSA_PKCS1_SHA512,
        SignatureScheme::RSA_PKCS1_SHA384,
        SignatureScheme::RSA_PKCS1_SHA256,
    ]
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        verify_certificate(end_entity, intermediates)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_signature(certificate, message, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        schemes()
    }
}

impl ClientCertVerifier for Verifier {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        verify_certificate(end_entity, intermediates)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_signature(certificate, message, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        schemes()
    }
}

#[cfg(test)]
mod tests {
    use tokio_util::compat::TokioAsyncReadCompatExt;

    use super::*;

    #[tokio::test]
    async fn each_end_learns_the_others_peer_id_over_aes_gcm() {
        let (alice, bob) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
        let (a, b) = tokio::io::duplex(4096);
        let (dialled, accepted) = futures::join!(
            Tls::new(&alice).expect("tls").upgrade_outbound(a.compat(), ""),
            Tls::new(&bob).expect("tls").upgrade_inbound(b.compat(), ""),
        );
        let ((found_bob, stream), (found_alice, _)) = (dialled.expect("dialled"), accepted.expect("accepted"));
        assert_eq!((found_bob, found_alice), (bob.public().to_peer_id(), alice.public().to_peer_id()));
        if has_aes_instructions() {
            let suite = stream.get_ref().1.negotiated_cipher_suite().expect("handshake is done");
            assert_eq!(suite, cipher_suite::TLS13_AES_128_GCM_SHA256);
        }
    }

    #[tokio::test]
    async fn it_understands_the_tls_of_libp2p_at_both_ends() {
        let (alice, bob) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
        let theirs = libp2p_tls::Config::new(&bob).expect("tls");
        let (a, b) = tokio::io::duplex(4096);
        let (dialled, accepted) = futures::join!(
            Tls::new(&alice).expect("tls").upgrade_outbound(a.compat(), ""),
            theirs.clone().upgrade_inbound(b.compat(), ""),
        );
        assert_eq!(dialled.expect("dialled").0, bob.public().to_peer_id());
        assert_eq!(accepted.expect("accepted").0, alice.public().to_peer_id());

        let (a, b) = tokio::io::duplex(4096);
        let (dialled, accepted) = futures::join!(
            theirs.upgrade_outbound(a.compat(), ""),
            Tls::new(&alice).expect("tls").upgrade_inbound(b.compat(), ""),
        );
        assert_eq!(dialled.expect("dialled").0, alice.public().to_peer_id());
        assert_eq!(accepted.expect("accepted").0, bob.public().to_peer_id());
    }
}
