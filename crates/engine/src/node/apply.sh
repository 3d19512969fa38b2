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

# In the words of the script that looks: an owner without a name is a number.
found_owner() { find "$1" -maxdepth 0 -printf '%m %u:%g'; }
found_file() {
    [ -e "$1" ] || { echo absent; return; }
    sum=$(sha256sum <"$1")
    echo "$(found_owner "$1") ${sum%% *}"
}
found_dir() { if [ -d "$1" ]; then found_owner "$1"; else echo absent; fi; }
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

# put PATH UMASK OWNER TEXT [MODE]: the text becomes the file, in one step for whoever reads it. Only what the shell can't do by itself
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
    [ "$3" = root:root ] || chown "$3" "$new" || { rm -f "$new"; return 1; }
    [ -z "${5-}" ] || chmod "$5" "$new" || return 1
    mv -fT "$new" "$1" 2>/dev/null && return 0
    # A file that is mounted into a container can't be replaced, only rewritten.
    printf '%s' "$4" >"$1" && chmod --reference="$new" "$1" && chown "$3" "$1" && rm -f "$new"
}

# edit PATH MODE OWNER TEXT READERS: a file that a person edits. What was there before its first edit, or that nothing was, is kept until
# the design no longer names it, and so is who reads it: lines of reload UNIT or restart UNIT.
edited=$state/edited
edit() {
    [ ! -d "$1" ] || { echo "$1 is a folder" >&2; return 1; }
    if [ ! -e "$edited/was$1" ] && [ ! -L "$edited/was$1" ] && [ ! -e "$edited/none$1" ]; then
        if [ -e "$1" ] || [ -L "$1" ]; then
            kept="$edited/was$1"
            mkdir -p "${kept%/*}" && cp -a "$1" "$kept.clusterbook-new" && mv -fT "$kept.clusterbook-new" "$kept" || return 1
        else
            kept="$edited/none$1"
            mkdir -p "${kept%/*}" && : >"$kept" || return 1
        fi
    fi
    kept="$edited/readers$1"
    rm -f "$kept"
    [ -z "$5" ] || { mkdir -p "${kept%/*}" && printf '%s' "$5" >"$kept"; } || return 1
    put "$1" 0077 "$3" "$4" "$2"
}
found_edit() { if [ -e "$edited/was$1" ] || [ -L "$edited/was$1" ] || [ -e "$edited/none$1" ]; then echo edited; else echo original; fi; }
put_back() {
    if [ -e "$edited/was$1" ] || [ -L "$edited/was$1" ]; then
        cp -a "$edited/was$1" "$1.clusterbook-new" && mv -fT "$1.clusterbook-new" "$1" || return 1
    elif [ -e "$edited/none$1" ]; then
        rm -f "$1" || return 1
    fi
    if [ -r "$edited/readers$1" ]; then
        while read -r how unit; do
            # A service that another file still names is told by its own item.
            rm -f "$state/stamp/$unit"
            ! systemctl is-active -q "$unit.service" || systemctl "$how" "$unit.service" || return 1
        done <"$edited/readers$1"
    fi
    # Last of all: cut short before, it is done again.
    rm -f "$edited/readers$1" "$edited/was$1" "$edited/none$1"
}

put_dir() { (umask 022 && mkdir -p "$1") && chmod "$2" "$1" && chown "$3" "$1"; }
put_link() {
    parent=${1%/*}
    [ -d "${parent:-/}" ] || (umask 022 && mkdir -p "$parent") || return 1
    ln -sfn "$2" "$1"
}

other_number="rename or remove it on this node, or write its number in the design"
# own_number NAME GID: whether no group of that name is there, or one with that number.
own_number() {
    line=$(getent group "$1") || return 0
    gid=${line#*:*:}
    gid=${gid%%:*}
    [ "$gid" = "$2" ] || { echo "group $1 exists with gid $gid, not $2; $other_number" >&2; return 1; }
}

# account NAME UID HOME: a person's account. A name that already belongs to another number is never taken over.
account() {
    if line=$(getent passwd "$1"); then
        uid=${line#*:*:}
        uid=${uid%%:*}
        [ "$uid" = "$2" ] || { echo "account $1 exists with uid $uid, not $2; $other_number" >&2; return 1; }
        usermod -c clusterbook -g "$2" -d "$3" -s /bin/bash "$1"
    else
        own_number "$1" "$2" || return 1
        getent group "$1" >/dev/null || groupadd -g "$2" "$1" || return 1
        # The numbers of a user's containers are the design's, not those that happen to be free here.
        useradd -K SUB_UID_COUNT=0 -K SUB_GID_COUNT=0 -M -c clusterbook -u "$2" -g "$2" -d "$3" -s /bin/bash "$1"
    fi
}
no_account() {
    getent passwd "$1" >/dev/null || return 0
    # What was killed takes a moment to go, and while it is there the account can't.
    tries=0
    while :; do
        pkill -KILL -u "$1" 2>/dev/null
        said=$(userdel "$1" 2>&1) && break
        tries=$((tries + 1))
        [ "$tries" -lt 100 ] || { echo "$said" >&2; return 1; }
        sleep 0.1
    done
    ! getent group "$1" >/dev/null || groupdel "$1"
}

# found_unix_group NAME: its number and its members in order.
found_unix_group() {
    line=$(getent group "$1") || { echo absent; return; }
    gid=${line#*:*:}
    echo "${gid%%:*}:$(printf '%s\n' "${line##*:}" | tr , '\n' | sort | paste -sd, -)"
}
# unix_group NAME GID MEMBERS: a group with exactly these members. The note beside it tells that it is ours; it is there first, so that a
# group never is without one. A name that already belongs to another number is never taken over.
unix_group() {
    own_number "$1" "$2" || return 1
    mkdir -p "$state/unix-group" && : >"$state/unix-group/$1" || return 1
    if ! getent group "$1" >/dev/null && ! groupadd -g "$2" "$1"; then
        rm -f "$state/unix-group/$1"
        return 1
    fi
    for member in $(getent group "$1" | cut -d: -f4 | tr , ' '); do
        case ",$3," in *",$member,"*) ;; *) gpasswd -d "$member" "$1" >/dev/null || return 1 ;; esac
    done
    for member in $(printf '%s' "$3" | tr , ' '); do
        case " $(id -nG "$member") " in *" $1 "*) ;; *) gpasswd -a "$member" "$1" >/dev/null || return 1 ;; esac
    done
}
no_unix_group() {
    if getent group "$1" >/dev/null; then groupdel "$1" || return 1; fi
    rm -f "$state/unix-group/$1"
}

# last_words UNIT: what systemd and the unit itself say of it, for whoever has to mend it.
last_words() { systemctl status --no-pager --lines=20 -- "$1" >&2; }

# service UNIT DIGEST REFRESH: the daemon runs and has read the configuration that the digest stands for.
service() {
    found=$(found_service "$1")
    case $found in
    # A node that is still starting may have got there by itself since it was looked at.
    "active $2") return 0 ;;
    failed*) systemctl reset-failed "$1.service" ;;
    esac
    if [ "$3" = start ]; then
        systemctl start "$1.service" || { last_words "$1.service"; return 1; }
    elif [ "$3 ${found%% *}" = 'reconfigure active' ]; then
        scontrol reconfigure || return 1
    elif [ "$3 ${found%% *}" = 'reload active' ]; then
        systemctl reload "$1.service" || return 1
    else
        systemctl restart "$1.service" || { last_words "$1.service"; return 1; }
        [ "$3" != reconfigure ] || answers "$1" || return 1
    fi
    echo "$2" >"$state/stamp/$1"
}

# answers UNIT: the controller that was started answers. It says that it is ready before it has loaded all that its configuration names.
answers() {
    tries=0
    until scontrol ping 2>/dev/null | grep -q ' is UP'; do
        tries=$((tries + 1))
        if [ "$tries" -gt 1000 ] || ! systemctl is-active -q "$1.service"; then
            echo "$1 was started and doesn't answer; this is what it said" >&2
            last_words "$1.service"
            return 1
        fi
        sleep 0.05
    done
}

# runs UNIT DIGEST: whether it still runs, for a daemon of which nothing is known. One that was started in vain is told again by the next
# apply.
runs() {
    tries=0
    while :; do
        found=$(found_service "$1")
        [ "$found" != "active $2" ] || return 0
        # systemctl may come back a moment before the daemon says that it is ready again.
        case $found in
        reloading* | activating*) tries=$((tries + 1)) ;;
        *) break ;;
        esac
        [ "$tries" -lt 100 ] || break
        sleep 0.1
    done
    rm -f "$state/stamp/$1"
    echo "$1 doesn't stay running" >&2
    last_words "$1.service"
    return 1
}

# A trial of a changed configuration of the controller that runs: a second slurmctld starts with it, in a network and a process space of
# its own, without the cluster's state, as the user that the first one runs as. It reaches no node and no database, and whatever it
# refuses is refused before anything is changed. A node that has no configuration yet has nothing to protect.
trial=
trial_begin() {
    [ -e /etc/slurm/slurm.conf ] || return 0
    trial=$(mktemp -d /tmp/clusterbook-trial.XXXXXX) && mkdir "$trial/etc" "$trial/state" && cp -r /etc/slurm/. "$trial/etc"
}
trial_put() { [ -z "$trial" ] || { mkdir -p "$(dirname "$trial/etc/$1")" && printf '%s' "$2" >"$trial/etc/$1"; }; }
trial_slurmctld() {
    [ -n "$trial" ] || return 0
    # The state, the database and programs that run at the start are the first one's.
    sed -i -e '/^[[:space:]]*\(AccountingStorage\|SlurmctldPrimary\|StateSaveLocation\|SlurmctldPidFile\)/Id' "$trial/etc/slurm.conf"
    printf '\n%s\n' "StateSaveLocation=$trial/state" "SlurmctldPidFile=$trial/pid" >>"$trial/etc/slurm.conf"
    chown -R slurm:slurm "$trial"
    # The shell stays in between: it is the process whose end ends all of them. An address of documentation makes names resolve.
    unshare --net --pid --fork --kill-child sh -c '
        ip link set lo up && ip address add 192.0.2.1/32 dev lo && ip address add 2001:db8::1/128 dev lo
        setpriv --reuid=slurm --regid=slurm --init-groups slurmctld -D -v -L /dev/null -f "$1/etc/slurm.conf"
        exit $?' sh "$trial" >"$trial/said" 2>&1 9>&- &
    second=$!
    tries=0
    until grep -q 'Running as primary controller' "$trial/said"; do
        tries=$((tries + 1))
        if [ "$tries" -gt 3000 ] || ! kill -0 "$second" 2>/dev/null; then
            trial_end "$second"
            echo 'slurmctld would refuse this configuration; nothing was changed, and it goes on with the one that it has' >&2
            why=$(sed -n -e "s|$trial/etc|/etc/slurm|g" -e '/state file\|state save file\|more than once/d' \
                -e 's/^slurmctld: \(error\|fatal\): //p' "$trial/said")
            [ -n "$why" ] || why=$(tail -n 5 "$trial/said")
            printf '%s\n' "$why" >&2
            rm -rf "$trial"
            return 1
        fi
        sleep 0.02
    done
    trial_end "$second"
    rm -rf "$trial"
}

# The first process of a process space takes all others with it, and is waited for.
trial_end() {
    pkill -KILL -P "$1"
    wait "$1"
} 2>/dev/null

# no_service UNIT: the daemon doesn't run, now or after a boot.
found_no_service() {
    active=$(systemctl show -p ActiveState --value "$1.service")
    case $active in
    inactive | failed) echo absent ;;
    *) echo "$active -" ;;
    esac
}
no_service() {
    rm -f "/etc/systemd/system/multi-user.target.wants/$1.service" "$state/stamp/$1"
    systemctl stop "$1.service"
}

found_mount_unit() {
    digest=none
    [ -r "$state/stamp/$1" ] && read -r digest <"$state/stamp/$1"
    echo "$(systemctl show -p ActiveState --value -- "$1") $digest"
}

# mount_unit UNIT DIGEST: what the unit mounts is mounted, as its file says now.
mount_unit() {
    [ "$(found_mount_unit "$1")" != "active $2" ] || return 0
    systemctl daemon-reload && systemctl restart -- "$1" || {
        last_words "$1"
        return 1
    }
    echo "$2" >"$state/stamp/$1"
}

# slurm_node NAME: waits until the node takes jobs. A node that Slurm put down, because it restarted or was away, or drained,
# because it had fewer GPUs than are configured, is resumed; one that a person drained is left alone.
slurm_node() {
    tries=0
    while :; do
        status=$(sinfo -h -N -n "$1" -o '%T|%E' | { read -r first; echo "$first"; })
        reason=${status#*|}
        status=${status%%|*}
        case "$status|$reason" in
        down* | inval* | drain*'|gres/'*) scontrol update "nodename=$1" state=resume ;;
        '|'* | *'*|'* | unknown* | future* | fail*) ;;
        *) return 0 ;;
        esac
        tries=$((tries + 1))
        [ "$tries" -lt 600 ] || { echo "Slurm node $1 is still ${status:-unknown} after a minute: $reason" >&2; return 1; }
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
