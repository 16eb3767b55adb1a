#!/bin/sh
# Installs a real Neovim 0.12 from Debian's packages, with their libc, in a folder of the test cache.
# Prints the path of the editor, or fails with the reason.
set -eu

root=${LLMD_TEST_CACHE:-.cache}/nvim12
mkdir -p "$root"
root=$(cd "$root" && pwd)
nvim=$root/nvim
if [ -x "$nvim" ]; then
  echo "$nvim"
  exit
fi

command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null ||
  { echo "needs apt-get and dpkg-deb" >&2; exit 1; }
# Uses the machine's configured mirror.
mirror=$(awk '/^URIs:/ { print $2; exit }' /etc/apt/sources.list.d/*.sources 2>/dev/null ||
  awk '$1 == "deb" { print $(NF > 3 && $2 ~ /^\[/ ? 3 : 2); exit }' /etc/apt/sources.list)
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
arch=$(dpkg --print-architecture)
work=$root/work
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/parts" "$work/debs" "$root/tree"
echo "deb [signed-by=$keyring] $mirror forky main" > "$work/sources.list"
cp /var/lib/dpkg/status "$work/status"
apt() {
  apt-get -qq -o Dir::State="$work" -o Dir::State::status="$work/status" -o Dir::Cache="$work/cache" \
    -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts="$work/parts" "$@"
}
apt update >&2
cd "$work/debs"
apt download libc6 libgcc-s1 libluajit-5.1-2 libluajit-5.1-common libtree-sitter0.26 libunibilium4 \
  libutf8proc3 libuv1t64 lua-lpeg lua-luv neovim neovim-runtime >&2
for package in *.deb; do dpkg-deb -x "$package" "$root/tree"; done

loader=$(find "$root/tree/usr/lib" -name 'ld-linux*.so.*' | head -n 1)
[ -n "$loader" ] || { echo "no loader in libc6 for $arch" >&2; exit 1; }
libraries=$(dirname "$loader")
[ -d "$libraries/lua" ] || libraries=$(dirname "$(find "$root/tree/usr/lib" -name 'libc.so.6' | head -n 1)")
cat > "$nvim.new" <<END
#!/bin/sh
usr='$root/tree/usr'
export VIMRUNTIME="\$usr/share/nvim/runtime"
export LUA_PATH="\$usr/share/lua/5.1/?.lua;;" LUA_CPATH="$libraries/lua/5.1/?.so;;"
exec '$loader' --library-path '$libraries' --argv0 nvim "\$usr/bin/nvim" "\$@"
END
chmod +x "$nvim.new"
"$nvim.new" --version | grep -q 'NVIM v0\.1[2-9]' || { echo "this Neovim does not run on this machine" >&2; exit 1; }
mv "$nvim.new" "$nvim"
rm -r "$work"
echo "$nvim"
