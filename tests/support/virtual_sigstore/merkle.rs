//! A Merkle tree of RFC 9162 (2.1), built anew for each question: test trees are small.
use super::key::sha256;

/// A leaf's place in a tree of some size, with what proves it.
#[derive(Clone, Debug)]
pub struct Proof {
    /// Index of the leaf.
    pub index: u64,
    /// Number of leaves.
    pub size: u64,
    /// The root.
    pub root: [u8; 32],
    /// Sibling hashes, from the leaf upwards.
    pub hashes: Vec<[u8; 32]>,
}

/// The proof that `leaves[index]` is in the tree of `leaves`.
pub fn prove(leaves: &[Vec<u8>], index: usize) -> Proof {
    let hashes: Vec<_> = leaves.iter().map(|leaf| hash_leaf(leaf)).collect();
    Proof {
        index: index as u64,
        size: leaves.len() as u64,
        root: root(&hashes),
        hashes: path(&hashes, index),
    }
}

fn hash_leaf(leaf: &[u8]) -> [u8; 32] {
    sha256(&[&[0][..], leaf].concat())
}

fn hash_node(left: [u8; 32], right: [u8; 32]) -> [u8; 32] {
    sha256(&[&[1][..], &left, &right].concat())
}

fn root(hashes: &[[u8; 32]]) -> [u8; 32] {
    match hashes {
        [] => sha256(&[]),
        [only] => *only,
        _ => {
            let (left, right) = hashes.split_at(split(hashes.len()));
            hash_node(root(left), root(right))
        }
    }
}

fn path(hashes: &[[u8; 32]], index: usize) -> Vec<[u8; 32]> {
    if hashes.len() < 2 {
        return Vec::new();
    }
    let at = split(hashes.len());
    let (left, right) = hashes.split_at(at);
    let (mut below, sibling) =
        if index < at { (path(left, index), right) } else { (path(right, index - at), left) };
    below.push(root(sibling));
    below
}

/// The largest power of two below `length`.
fn split(length: usize) -> usize {
    length.next_power_of_two() / 2
}
