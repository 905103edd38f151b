//! From the certificate of a TSS up to a root.
//!
//! Validity is judged per message, at its signing time (hybrid model, TR-03145-5 §6.1); here only the
//! links are judged.

use super::certificate::Certificate;
use super::codes::FindingCode;
use super::report::Quoted;

/// Longest chain followed, in certificates.
const CHAIN_LEN_MAX: usize = 8;

/// The chain of one key.
pub(super) struct Chain<'a> {
    /// From the certificate of the key upwards; never empty.
    pub(super) links: Vec<&'a Certificate>,
    /// What is wrong with it: code, file, cause.
    pub(super) problems: Vec<(FindingCode, String, String)>,
    /// Whether it passes through a trusted certificate.
    pub(super) is_anchored: bool,
}

/// Follows the issuers of `leaf` through the archive's certificates and the trusted ones.
pub(super) fn follow<'a>(
    leaf: &'a Certificate,
    archive: &'a [Certificate],
    trust: &'a [Certificate],
) -> Chain<'a> {
    let is_trusted = |link: &Certificate| trust.iter().any(|root| root.der == link.der);
    let mut chain = Chain {
        links: vec![leaf],
        problems: Vec::new(),
        is_anchored: is_trusted(leaf),
    };
    if !leaf.may_sign_data() {
        chain.problem(
            FindingCode::CertificateUsage,
            leaf,
            "it may not sign data, but has signed log messages",
        );
    }
    chain.check_extensions(leaf);
    let mut last = leaf;
    while !chain.is_anchored {
        let Some(issuer) = chain.issuer(last, archive, trust) else {
            return chain;
        };
        if issuer.is_another_key_than_named_by(last) {
            let text = "its authorityKeyIdentifier names another key than the one that signed it";
            chain.problem(FindingCode::AuthorityKey, last, text);
        }
        if issuer.der == last.der {
            break;
        }
        let goes_round = chain.links.iter().any(|link| link.der == issuer.der);
        if goes_round || chain.links.len() >= CHAIN_LEN_MAX {
            let text = format!("the chain has no root after {} issuers", chain.links.len());
            chain.problem(FindingCode::ChainIncomplete, leaf, &text);
            return chain;
        }
        chain.check_issuer(issuer);
        chain.check_extensions(issuer);
        chain.links.push(issuer);
        chain.is_anchored = is_trusted(issuer);
        last = issuer;
    }
    if !chain.is_anchored && !trust.is_empty() {
        let text = format!(
            "the chain ends at {}, which is not trusted",
            Quoted(&last.subject_text)
        );
        chain.problem(FindingCode::ChainUntrusted, leaf, &text);
    }
    chain
}

impl<'a> Chain<'a> {
    fn problem(&mut self, code: FindingCode, certificate: &Certificate, text: &str) {
        self.problems
            .push((code, certificate.file.clone(), text.to_owned()));
    }

    /// The certificate that confirms `link`; itself for a root. A trusted one is preferred.
    fn issuer(
        &mut self,
        link: &Certificate,
        archive: &'a [Certificate],
        trust: &'a [Certificate],
    ) -> Option<&'a Certificate> {
        let all = || trust.iter().chain(archive);
        // Names are compared first: they cost nothing.
        let named = || all().filter(|candidate| candidate.is_named_by(link));
        let has_signed = |candidate: &&Certificate| candidate.has_signed(link);
        // An authority may have several certificates for one key; the one that is meant comes first.
        let meant = named().filter(|candidate| !candidate.is_another_key_than_named_by(link));
        if let Some(issuer) = meant.chain(named()).find(has_signed) {
            return Some(issuer);
        }
        if let Some(issuer) = all().find(|candidate| candidate.has_signed(link)) {
            let text = format!(
                "its issuer is given as {}, but the key that signed it belongs to {}",
                Quoted(&link.issuer_text),
                Quoted(&issuer.subject_text)
            );
            self.problem(FindingCode::IssuerName, link, &text);
            return Some(issuer);
        }
        if all().any(|candidate| candidate.is_named_by(link)) {
            self.problem(
                FindingCode::CertificateSignature,
                link,
                "no certificate with the name of its issuer confirms its signature",
            );
        } else {
            let text = format!("its issuer {} is missing", Quoted(&link.issuer_text));
            self.problem(FindingCode::ChainIncomplete, link, &text);
        }
        None
    }

    fn check_extensions(&mut self, link: &Certificate) {
        if let Some(oid) = &link.critical_unknown {
            let oid = Quoted(oid);
            let text = format!("its critical extension {oid} is not known to this checker");
            self.problem(FindingCode::CriticalExtension, link, &text);
        }
    }

    fn check_issuer(&mut self, issuer: &Certificate) {
        if !issuer.may_issue() {
            let text = "it may not issue certificates, but has issued one of the chain";
            self.problem(FindingCode::CertificateUsage, issuer, text);
        }
        // Certificates between this one and the leaf.
        let between = self.links.len().saturating_sub(1);
        let too_long = issuer
            .path_len_max
            .is_some_and(|longest| usize::try_from(longest).is_ok_and(|longest| between > longest));
        if too_long {
            let text = "the chain below it is longer than it allows";
            self.problem(FindingCode::CertificateUsage, issuer, text);
        }
    }
}
