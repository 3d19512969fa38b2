# Runs as root, last, in the image of the controller.

# They start once they have their configuration.
systemctl disable slurmctld.service slurmdbd.service
install -d -o slurm -g slurm -m 0755 /var/lib/slurm /var/lib/slurm/slurmctld

# Debian's names a pattern of files, which can't be sent to the nodes; every start would complain about it.
: > /etc/slurm/plugstack.conf

# Debian's package of the database without its extras makes neither its user nor its folders.
groupadd --system mysql
useradd --system --gid mysql --home-dir /nonexistent --no-create-home --shell /usr/sbin/nologin mysql
install -d -o mysql -g mysql -m 0700 /var/lib/mysql
install -d -o mysql -g mysql -m 0755 /run/mysqld
