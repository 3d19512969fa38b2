# Runs as root, last, in the image of the controller.

# They start once they have their configuration.
systemctl disable slurmctld.service slurmdbd.service
install -d -o slurm -g slurm -m 0755 /var/lib/slurm /var/lib/slurm/slurmctld

# Where the database's socket lies until a unit makes the folder.
install -d -o mysql -g mysql -m 0755 /run/mariadb

# What OpenHPC ships as an example must not be taken for ours.
rm -f /etc/slurm/slurm.conf /etc/slurm/cgroup.conf
