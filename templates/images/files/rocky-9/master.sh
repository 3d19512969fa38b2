# Runs as root, last, in the image of the controller.

# They start once they have their configuration.
systemctl disable slurmctld.service slurmdbd.service
install -d -o slurm -g slurm -m 0755 /var/lib/slurm /var/lib/slurm/slurmctld

# The database that accounting needs is made here. It holds nothing of any cluster, and no password: it knows slurmdbd by the user that it
# runs as.
mariadb-install-db --user=mysql --auth-root-authentication-method=socket --skip-test-db >/dev/null
install -d -o mysql -g mysql -m 0755 /run/mariadb
mariadbd --user=mysql &
server=$!
until mariadb -e 'SELECT 1' >/dev/null 2>&1; do
    kill -0 "$server"
    sleep 0.1
done
mariadb <<'END'
CREATE DATABASE slurm_acct_db;
CREATE USER slurm@localhost IDENTIFIED VIA unix_socket;
GRANT ALL ON slurm_acct_db.* TO slurm@localhost;
END
kill "$server"
wait "$server" || :
systemctl enable mariadb.service

# What OpenHPC ships as an example must not be taken for ours.
rm -f /etc/slurm/slurm.conf /etc/slurm/cgroup.conf

touch /etc/.updated /var/.updated
rm -rf /var/cache/dnf /var/log/dnf*.log /var/log/hawkey.log
