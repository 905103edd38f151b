use super::*;
use openssl::ec::PointConversionForm;

/// A key pair made in software, for the checker only.
fn key_pair(curve: Curve) -> (openssl::ec::EcKey<openssl::pkey::Private>, PublicKey) {
    let group = group(curve).unwrap();
    let private = EcKey::generate(&group).unwrap();
    let mut context = BigNumContext::new().unwrap();
    let point = private
        .public_key()
        .to_bytes(&group, PointConversionForm::UNCOMPRESSED, &mut context)
        .unwrap();
    (private, PublicKey { curve, point })
}

fn sign(
    private: &openssl::ec::EcKey<openssl::pkey::Private>,
    curve: Curve,
    digest: &[u8],
) -> Vec<u8> {
    let signature = EcdsaSig::sign(digest, private).unwrap();
    let width = i32::try_from(curve.field_len()).unwrap();
    let mut plain = signature.r().to_vec_padded(width).unwrap();
    plain.extend(signature.s().to_vec_padded(width).unwrap());
    plain
}

#[test]
fn a_good_signature_verifies_on_every_curve_and_any_flipped_bit_is_noticed() {
    for curve in Curve::ALL {
        let (private, public) = key_pair(curve);
        let digest = [7u8; 64];
        let signature = sign(&private, curve, &digest);
        verify(&public, &digest, &signature).unwrap();
        for index in 0..signature.len() {
            let mut broken = signature.clone();
            broken[index] ^= 1 << (index % 8);
            assert!(
                verify(&public, &digest, &broken).is_err(),
                "{curve:?} byte {index}"
            );
        }
        let mut other = digest;
        other[0] ^= 1;
        assert!(verify(&public, &other, &signature).is_err());
    }
}

#[test]
fn a_signature_of_the_wrong_length_or_of_another_key_does_not_verify() {
    let curve = Curve::Secp256r1;
    let (private, public) = key_pair(curve);
    let (_, stranger) = key_pair(curve);
    let signature = sign(&private, curve, &[1; 32]);
    assert!(verify(&stranger, &[1; 32], &signature).is_err());
    assert!(verify(&public, &[1; 32], &signature[..63]).is_err());
    let longer: Vec<u8> = signature.iter().copied().chain([0]).collect();
    assert!(verify(&public, &[1; 32], &longer).is_err());
    assert!(verify(&public, &[1; 32], &[]).is_err());
    assert!(verify(&public, &[1; 32], &[0; 64]).is_err());
}

#[test]
fn a_point_off_the_curve_or_in_another_form_is_no_public_key() {
    for curve in Curve::ALL {
        let (_, good) = key_pair(curve);
        public_key(&good).unwrap();
        let mut off = good.clone();
        let last = off.point.len() - 1;
        off.point[last] ^= 1;
        assert!(public_key(&off).is_err(), "{curve:?}");
        let mut compressed = good.clone();
        compressed.point.truncate(1 + curve.field_len());
        compressed.point[0] = 2;
        assert!(public_key(&compressed).is_err());
        let mut hybrid = good;
        hybrid.point[0] = 6;
        assert!(public_key(&hybrid).is_err());
    }
}
