# Functions that an apply's script is made of. POSIX shell; nothing but the base system is needed on a node.
set -u
umask 077
LC_ALL=C
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL PATH

state=/var/lib/clusterbook

# One script at a time on a node, and never one of an older apply than the last: what an interrupted apply left running
# ends before this one starts, and what it left waiting is refused. enter CLUSTER NUMBER
enter() {
    (umask 022 && mkdir -p "$state/stamp") || exit 70
    exec 9>"$state/lock" || exit 70
    flock -w 120 9 || { echo "refused busy"; exit 75; }
    last=0
    [ -r "$state/fence-$1" ] && read -r last <"$state/fence-$1"
    [ "$last" -le "$2" ] || { echo "refused fence $last"; exit 76; }
    [ "$last" -eq "$2" ] || { echo "$2" >"$state/fence.new" && mv -f "$state/fence.new" "$state/fence-$1"; }
}

# expect STEP EXPECTED FOUND: whether the node still is as the plan saw it.
expect() {
    [ "$2" = "$3" ] && return 0
    echo "step $1 drift $3"
    return 1
}

# finish STEP STATUS: tells how a step went; the first failure ends the script, since later steps build on earlier ones.
finish() {
    [ "$2" -eq 0 ] && { echo "step $1 ok"; return; }
    echo "step $1 failed"
    exit 70
}

found_file() {
    [ -e "$1" ] || { echo absent; return; }
    sum=$(sha256sum <"$1")
    echo "$(stat -c '%a %U:%G' "$1") ${sum%% *}"
}
found_dir() { if [ -d "$1" ]; then stat -c '%a %U:%G' "$1"; else echo absent; fi; }
found_link() { if [ -L "$1" ]; then readlink "$1"; else echo absent; fi; }
found_user() {
    line=$(getent passwd "$1") || { echo absent; return; }
    echo "$line" | { IFS=: read -r _ _ uid gid _ home shell; echo "$uid:$gid:$home:$shell"; }
}
found_service() {
    digest=none
    [ -r "$state/stamp/$1" ] && read -r digest <"$state/stamp/$1"
    active=$(systemctl show -p ActiveState --value "$1.service")
    echo "$active $digest"
}

# put PATH UMASK OWNER TEXT: the text becomes the file, in one step for whoever reads it. Only what the shell can't do by itself
# starts a program: with hundreds of nodes on one machine that is most of the time.
put() {
    parent=${1%/*}
    [ -d "${parent:-/}" ] || (umask 022 && mkdir -p "$parent") || return 1
    new="$1.clusterbook-new"
    [ ! -e "$new" ] || rm -f "$new"
    umask "$2"
    printf '%s' "$4" >"$new"
    written=$?
    umask 077
    [ "$written" -eq 0 ] || return 1
    [ "$3" = root:root ] || chown "$3" "$new" || return 1
    mv -f "$new" "$1" 2>/dev/null && return 0
    # A file that is mounted into a container can't be replaced, only rewritten.
    printf '%s' "$4" >"$1" && chmod --reference="$new" "$1" && chown "$3" "$1" && rm -f "$new"
}
put_dir() { (umask 022 && mkdir -p "$1") && chmod "$2" "$1" && chown "$3" "$1"; }
put_link() {
    parent=${1%/*}
    [ -d "${parent:-/}" ] || (umask 022 && mkdir -p "$parent") || return 1
    ln -sfn "$2" "$1"
}

# account NAME UID HOME: a person's account. A name that already belongs to another number is never taken over.
account() {
    if line=$(getent passwd "$1"); then
        uid=${line#*:*:}
        uid=${uid%%:*}
        [ "$uid" = "$2" ] || { echo "account $1 exists with uid $uid, not $2" >&2; return 1; }
        usermod -c clusterbook -g "$2" -d "$3" -s /bin/bash "$1"
    else
        getent group "$1" >/dev/null || groupadd -g "$2" "$1" || return 1
        useradd -M -c clusterbook -u "$2" -g "$2" -d "$3" -s /bin/bash "$1"
    fi
}
no_account() {
    getent passwd "$1" >/dev/null || return 0
    pkill -KILL -u "$1" 2>/dev/null
    userdel "$1" || return 1
    ! getent group "$1" >/dev/null || groupdel "$1"
}

# service UNIT DIGEST REFRESH: the daemon runs and has read the configuration that the digest stands for.
service() {
    found=$(found_service "$1")
    case $found in
    # A node that is still starting may have got there by itself since it was looked at.
    "active $2") return 0 ;;
    failed*) systemctl reset-failed "$1.service" ;;
    esac
    if [ "$3 ${found%% *}" = 'reconfigure active' ]; then
        scontrol reconfigure || return 1
    else
        systemctl restart "$1.service" || {
            systemctl status --no-pager --lines=20 "$1.service" >&2
            return 1
        }
    fi
    echo "$2" >"$state/stamp/$1"
}

# slurm_node NAME: waits until the node takes jobs. A node that Slurm put down, because it restarted or was away, is
# resumed; one that a person drained is left alone.
slurm_node() {
    tries=0
    while :; do
        status=$(sinfo -h -N -n "$1" -o %T | { read -r first; echo "$first"; })
        case $status in
        down*) scontrol update "nodename=$1" state=resume ;;
        '' | *\* | unknown* | future* | fail*) ;;
        *) return 0 ;;
        esac
        tries=$((tries + 1))
        [ "$tries" -lt 600 ] || { echo "Slurm node $1 is still ${status:-unknown} after a minute" >&2; return 1; }
        sleep 0.1
    done
}

# slurm_drained NAME: the node takes no more jobs, and those that it runs are waited for.
slurm_drained() {
    # A node that Slurm doesn't know, or a Slurm that never came up, has no jobs to wait for.
    scontrol show node "$1" >/dev/null 2>&1 || return 0
    scontrol update "nodename=$1" state=drain reason='leaves the cluster' || return 1
    while [ -n "$(squeue -h -w "$1" -t running,completing,suspended -o %i)" ]; do
        sleep 1
    done
}
