//! Real handshakes on loopback, by rustls and by OpenSSL: what each door lets in, and who that is.

mod doors;
mod openssl;
mod public;
mod tier;
