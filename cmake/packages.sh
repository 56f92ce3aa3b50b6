# Sourced by the scripts beside it and by .ci/run.

# Installs those of the named Debian packages that are not there yet.
install_missing() {
  local missing=() package
  if ! command -v apt-get >/dev/null; then
    echo "No apt-get here: taking it that these are installed, by whatever name: $*"
    return
  fi
  for package in "$@"; do
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
  done
  ((${#missing[@]})) || return 0
  local as_root=()
  if ((EUID != 0)); then
    if ! command -v sudo >/dev/null; then
      echo "Missing, and neither root nor sudo to install them: ${missing[*]}" >&2
      return 1
    fi
    as_root=(sudo)
  fi
  echo "Installing ${missing[*]}"
  "${as_root[@]}" apt-get -q -y update
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends "${missing[@]}"
}

# What it takes to build the library's own tests and examples with the system's compiler.
base_packages=(g++ cmake ninja-build pkg-config catch2)
# The event loops that the hosts are tested on.
host_packages=(libasio-dev libboost-dev libuv1-dev libglib2.0-dev qt6-base-dev liburing-dev)
