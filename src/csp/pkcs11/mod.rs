//! Adapter of the CSP port to any PKCS#11 module, through `cryptoki`.
