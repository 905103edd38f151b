//! The key that encrypts what the ledger must be able to show again: PUKs of fresh TSSs, secrets that
//! sign tokens. It lives in a file beside the configuration, never in the database.

use super::LedgerError;
use crate::terms::Entropy;
use openssl::symm::{Cipher, decrypt_aead, encrypt_aead};
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use zeroize::{Zeroize as _, Zeroizing};

/// Bytes of an AES-256 key.
const KEY_LEN: usize = 32;
/// Bytes of a GCM nonce; random, which is fine for the few thousand values one key ever seals.
const NONCE_LEN: usize = 12;
/// Bytes of a GCM tag.
const TAG_LEN: usize = 16;
/// First byte of everything sealed: AES-256-GCM, nonce, ciphertext, tag.
const VERSION: u8 = 1;

/// AES-256-GCM key.
pub struct SealingKey(Zeroizing<[u8; KEY_LEN]>);

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingKey(..)")
    }
}

impl SealingKey {
    /// Reads a file of 64 hexadecimal digits that only its owner can read.
    ///
    /// # Errors
    /// [`LedgerError::Unsafe`] with what to do about it.
    pub fn from_file(path: &Path) -> Result<Self, LedgerError> {
        let unusable = |problem: &str| {
            LedgerError::Unsafe(format!("the sealing key {} {problem}", path.display()))
        };
        let mode = fs::metadata(path)
            .map_err(|_| unusable("cannot be read; restore it, or make a new data folder"))?
            .permissions()
            .mode();
        if mode & 0o077 != 0 {
            return Err(unusable("can be read by others; set its mode to 0600"));
        }
        let text = fs::read_to_string(path).map(Zeroizing::new);
        let text = text.map_err(|_| unusable("cannot be read by this user"))?;
        let mut key = Zeroizing::new([0; KEY_LEN]);
        hex::decode_to_slice(text.trim_end(), key.as_mut_slice())
            .map_err(|_| unusable("is damaged: it must hold 64 hexadecimal digits"))?;
        Ok(Self(key))
    }

    /// Makes a key and writes it to a new file, which must not exist.
    ///
    /// # Errors
    /// [`LedgerError::Unsafe`] when the file exists or cannot be written.
    pub fn create_file(path: &Path, entropy: &dyn Entropy) -> Result<Self, LedgerError> {
        let mut key = Zeroizing::new([0; KEY_LEN]);
        entropy.fill(key.as_mut_slice());
        let mut text = Zeroizing::new(hex::encode(key.as_slice()));
        text.push('\n');
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .and_then(|mut file| {
                file.write_all(text.as_bytes())
                    .and_then(|()| file.sync_all())
            });
        text.zeroize();
        written.map_err(|error| {
            let path = path.display();
            LedgerError::Unsafe(format!("the sealing key {path} cannot be made: {error}"))
        })?;
        Ok(Self(key))
    }

    /// Encrypts. `context` says what this is and for whom; opening needs the same words.
    ///
    /// # Errors
    /// [`LedgerError::Damaged`] when the cipher fails, which it does not.
    pub fn seal(
        &self,
        context: &str,
        plaintext: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, LedgerError> {
        let mut nonce = [0; NONCE_LEN];
        entropy.fill(&mut nonce);
        let mut tag = [0; TAG_LEN];
        let ciphertext = encrypt_aead(
            Cipher::aes_256_gcm(),
            self.0.as_slice(),
            Some(&nonce),
            context.as_bytes(),
            plaintext,
            &mut tag,
        )
        .map_err(|_| LedgerError::Damaged(format!("{context} could not be sealed")))?;
        Ok([&[VERSION], nonce.as_slice(), &ciphertext, &tag].concat())
    }

    /// Decrypts what [`Self::seal`] made with the same key and context.
    ///
    /// # Errors
    /// [`LedgerError::Damaged`] for anything else.
    pub fn open(&self, context: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, LedgerError> {
        let damaged =
            || LedgerError::Damaged(format!("{context} does not open with this sealing key"));
        let rest = match sealed.split_first() {
            Some((&VERSION, rest)) => rest,
            Some(_) | None => return Err(damaged()),
        };
        let (nonce, rest) = rest.split_at_checked(NONCE_LEN).ok_or_else(damaged)?;
        let (ciphertext, tag) = rest
            .len()
            .checked_sub(TAG_LEN)
            .and_then(|len| rest.split_at_checked(len))
            .ok_or_else(damaged)?;
        decrypt_aead(
            Cipher::aes_256_gcm(),
            self.0.as_slice(),
            Some(nonce),
            context.as_bytes(),
            ciphertext,
            tag,
        )
        .map(Zeroizing::new)
        .map_err(|_| damaged())
    }
}
