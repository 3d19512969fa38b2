# Runs as root, last, in the image of the controller.

# It starts once it has its configuration.
systemctl disable slurmctld.service
install -d -o slurm -g slurm -m 0755 /var/lib/slurm /var/lib/slurm/slurmctld

# Debian's names a pattern of files, which can't be sent to the nodes; every start would complain about it.
: > /etc/slurm/plugstack.conf

# As in the common image: these packages are newer than the note that caches are up to date.
touch /etc/.updated /var/.updated
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/log/*.log /var/log/apt
