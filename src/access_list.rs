//! An access control list as Linux takes it in an extended attribute (acl(5), linux/posix_acl_xattr.h). Bytes only.

/// Of the attribute.
pub const NAME: &str = "system.posix_acl_access";

/// That of a file with this mode which these may read and write as well.
pub fn of(mode: u32, users: &[u32], groups: &[u32]) -> Vec<u8> {
    let bits = |shift: u32| (mode >> shift & 7) as u16;
    let one = |tag| move |id: &u32| (tag, READ_WRITE, *id);
    let mut entries = vec![(USER_OBJ, bits(6), UNDEFINED)];
    entries.extend(users.iter().map(one(USER)));
    entries.push((GROUP_OBJ, bits(3), UNDEFINED));
    entries.extend(groups.iter().map(one(GROUP)));
    entries.extend([(MASK, READ_WRITE, UNDEFINED), (OTHER, bits(0), UNDEFINED)]);
    let mut list = VERSION.to_le_bytes().to_vec();
    for (tag, rights, id) in entries {
        list.extend(tag.to_le_bytes());
        list.extend(rights.to_le_bytes());
        list.extend(id.to_le_bytes());
    }
    list
}

const VERSION: u32 = 2;
const READ_WRITE: u16 = 6;
const USER_OBJ: u16 = 1;
const USER: u16 = 2;
const GROUP_OBJ: u16 = 4;
const GROUP: u16 = 8;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;
const UNDEFINED: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    #[test]
    fn a_list_names_each_and_gives_others_what_the_mode_does() {
        let list = super::of(0o600, &[1001], &[33]);
        let hex: String = list.iter().map(|byte| format!("{byte:02x}")).collect();
        let entries = [
            "02000000",
            "01000600ffffffff",
            "02000600e9030000",
            "04000000ffffffff",
            "0800060021000000",
            "10000600ffffffff",
            "20000000ffffffff",
        ];
        assert_eq!(hex, entries.concat());
    }
}
