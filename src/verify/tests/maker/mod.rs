//! Archives made without any code of the project: own bytes, keys in software, certificates by OpenSSL.
//!
//! Nothing of this crate is used here, so that a mistake shared by writer and checker cannot hide; the
//! tests of the command line bring the same files in.

pub mod der;
pub mod message;
pub mod pki;
pub mod qr;
pub mod tar;

use message::{Message, Signer};
use pki::{Digest, Issued, Plan, curve};
use tar::{Header, Tar};

/// When the messages of the tests are signed: 2023-11-14T22:13:20Z.
pub const T0: i64 = 1_700_000_000;

/// `info.csv` in the form of TR-03151 v1.0.1 §5.1.1.
pub const INFO_V2: &str =
    "\"description:\",\"a shop, in a town\",\"manufacturer:\",\"nobody\",\"version:\",\"1\"\n";

/// A device: the key that signs, and the chain of its certificate.
pub struct Device {
    pub signer: Signer,
    /// From the certificate of the key upwards.
    pub chain: Vec<Issued>,
}

impl Device {
    /// P-256 with SHA-256 and a chain of three.
    pub fn new() -> Self {
        Self::on("secp256r1", Digest::Sha256, 3)
    }

    /// A key on a curve, and a chain of one to three certificates.
    pub fn on(curve_name: &str, digest: Digest, certificates: usize) -> Self {
        let ca = |name, issuer| Plan::authority(name).issue(curve("secp384r1"), issuer);
        let root = || ca("Root TEST", None);
        let issuer = match certificates {
            1 => None,
            2 => Some(root()),
            _ => Some(ca("Issuing TEST", Some(&root()))),
        };
        let leaf = Plan::device().issue(curve(curve_name), issuer.as_ref());
        Self::of(leaf, digest)
    }

    /// With certificates as planned.
    pub fn planned(leaf: &Plan, root: &Plan) -> Self {
        let root = root.issue(curve("secp384r1"), None);
        Self::of(leaf.issue(curve("secp256r1"), Some(&root)), Digest::Sha256)
    }

    /// The device with this certificate.
    pub fn of(leaf: Issued, digest: Digest) -> Self {
        let signer = Signer::new(leaf.key.ec_key().unwrap(), digest);
        let mut chain = vec![leaf];
        while let Some(issuer) = chain.last().and_then(|last| last.issuer.clone()) {
            chain.push(*issuer);
        }
        Self { signer, chain }
    }

    /// The files of an export: description, chain, messages.
    pub fn files(&self, messages: &[Message]) -> Files {
        let mut files = Files(vec![("info.csv".to_owned(), INFO_V2.as_bytes().to_vec())]);
        files.0.extend(self.chain.iter().map(Issued::file));
        files
            .0
            .extend(messages.iter().map(|m| m.file(&self.signer)));
        files
    }

    /// A whole archive.
    pub fn archive(&self, messages: &[Message]) -> Vec<u8> {
        self.files(messages).tar()
    }
}

/// Names and contents.
#[derive(Clone)]
pub struct Files(pub Vec<(String, Vec<u8>)>);

impl Files {
    /// In plain ustar.
    pub fn tar(&self) -> Vec<u8> {
        self.tar_with(Header::file)
    }

    /// With headers of another dialect.
    pub fn tar_with(&self, header: impl Fn(&str, usize) -> Header) -> Vec<u8> {
        let mut tar = Tar::default();
        for (name, content) in &self.0 {
            tar.add(&header(name, content.len()), content);
        }
        tar.end()
    }

    #[must_use]
    pub fn with(mut self, name: &str, content: &[u8]) -> Self {
        self.0.push((name.to_owned(), content.to_vec()));
        self
    }

    /// Without the files whose names fit.
    #[must_use]
    pub fn without(mut self, fits: impl Fn(&str) -> bool) -> Self {
        let before = self.0.len();
        self.0.retain(|(name, _)| !fits(name));
        assert!(self.0.len() < before, "there was no such file");
        self
    }

    /// The first file whose name fits.
    pub fn first(&mut self, fits: impl Fn(&str) -> bool) -> &mut (String, Vec<u8>) {
        let found = self.0.iter_mut().find(|(name, _)| fits(name));
        found.expect("there is such a file")
    }
}
