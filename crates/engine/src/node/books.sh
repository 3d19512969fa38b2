
# Functions for Slurm's accounts, which are kept in a database behind slurmdbd.

# books: waits until slurmdbd answers and knows this cluster; the controller makes itself known a moment after it has started.
books() {
    tries=0
    until sacctmgr -nP show assoc where account=root user= format=Account 2>/dev/null | grep -q .; do
        tries=$((tries + 1))
        [ "$tries" -lt 300 ] || {
            sacctmgr -nP show cluster >&2
            systemctl status --no-pager --lines=10 slurmdbd.service mariadb.service >&2
            echo "Slurm's database doesn't know this cluster after half a minute" >&2
            return 1
        }
        sleep 0.1
    done
}

# Slurm's accounts as one line each, in the form in which they are wanted.
found_slurm_account() {
    line=$(sacctmgr -nP show assoc where "account=$1" user= "format=$associations" 2>/dev/null)
    [ -n "$line" ] || { echo absent; return; }
    echo "${line#*|*|}|$(sacctmgr -nP show account where "name=$1" format=Organization)"
}
found_slurm_user() {
    lines=$(sacctmgr -nP show assoc where "user=$1" "format=$associations" 2>/dev/null |
        sed 's/^\([^|]*\)|[^|]*|[^|]*|/\1|/' | sort | sed 's/$/;/' | tr -d '\n')
    [ -n "$lines" ] || { echo absent; return; }
    echo "$(sacctmgr -nP show user where "name=$1" format=DefaultAccount);$lines"
}

# ask WORDS...: sacctmgr without questions; what it prints is of interest only when it fails.
ask() {
    said=$(sacctmgr -Qi "$@" 2>&1) && return 0
    echo "$said" >&2
    return 1
}

# set_all TABLE NAME SETTING...: where the cluster counts GPUs, limits on them that aren't wanted are lifted as well.
set_all() {
    table=$1 name=$2
    shift 2
    if sacctmgr -nP show tres format=Type,Name | grep -q '^gres|gpu$'; then
        for setting do
            shift
            case $setting in
            *gres/gpu=* | fairshare=*) ;;
            *TRES*=*) setting=$setting,gres/gpu=-1 ;;
            esac
            set -- "$@" "$setting"
        done
    fi
    ask modify "$table" where "name=$name" set "$@"
}

# slurm_account NAME PARENT SETTING...: an account of ours with this parent and these limits.
slurm_account() {
    account=$1 parent=$2
    shift 2
    books || return 1
    case $(found_slurm_account "$account") in
    absent) ask add account "$account" "parent=$parent" organization=clusterbook "description=$account" || return 1 ;;
    "$parent|"*) ;;
    *) ask modify account where "name=$account" set "parent=$parent" || return 1 ;;
    esac
    set_all account "$account" organization=clusterbook "$@"
}
no_slurm_account() {
    books || return 1
    [ "$(found_slurm_account "$1")" = absent ] || ask delete account where "name=$1"
}

# slurm_user NAME ACCOUNTS SETTING...: a user of these accounts and no others, the first being the default.
slurm_user() {
    user=$1 accounts=$2
    shift 2
    books || return 1
    have=$(sacctmgr -nP show assoc where "user=$user" format=Account)
    for account in $(echo "$accounts" | tr , ' '); do
        echo "$have" | grep -qx -e "$account" ||
            ask add user "$user" "account=$account" "defaultaccount=${accounts%%,*}" || return 1
    done
    # The default first: an account that is somebody's default can't be taken from them.
    set_all user "$user" "defaultaccount=${accounts%%,*}" "$@" || return 1
    for account in $have; do
        case ",$accounts," in
        *",$account,"*) ;;
        *) ask delete user where "name=$user" "account=$account" || return 1 ;;
        esac
    done
}

# no_slurm_user NAME: their jobs end first, since what they use is charged to the account that goes.
no_slurm_user() {
    books || return 1
    [ "$(found_slurm_user "$1")" != absent ] || return 0
    scancel --user="$1" 2>/dev/null
    tries=0
    until said=$(sacctmgr -Qi delete user where "name=$1" 2>&1); do
        tries=$((tries + 1))
        [ "$tries" -lt 300 ] || { echo "$said" >&2; return 1; }
        sleep 0.2
    done
}
